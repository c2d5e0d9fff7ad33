"""What a request costs as routes, grants, tokens, connections and bodies grow."""
