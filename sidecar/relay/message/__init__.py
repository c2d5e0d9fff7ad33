"""Message rules: what a WebSocket message says, and whether its sender, or its reader, may.

A reader of the route's protocol turns a message into calls, rules turn a call into a permission
and a resource, the gate asks the principal's grants. Nothing in here waits, and nothing is written
anew: what was read is what goes on, byte for byte, so whatever could be read in two ways is
refused.
"""
