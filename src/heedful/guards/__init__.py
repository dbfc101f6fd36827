"""Rules about texts: what is in them that should not stay, or should not pass.

Pure tools: a text goes in, findings come out. Nothing here knows a store, a setting or a tenant.
"""
