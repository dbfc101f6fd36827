"""What was done cannot be undone unseen: the arithmetic of the audit log.

`entries` turns an act into its one byte string, `merkle` is the tree of RFC 6962 and RFC 9162 over those
strings, `checkpoints` signs how the tree stood, `verification` compares what is stored now with what was
signed then. Everything here is a pure function: the store keeps the entries and appends a leaf in the same
transaction as the act, and a checkpoint is worth something once a copy of it lies outside that store.
"""
