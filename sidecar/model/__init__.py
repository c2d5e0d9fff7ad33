"""The nouns every other part speaks with; frozen, slotted, importing nothing of ours."""
