"""Keys and what they may do: the permission table and nothing else decides.

Pure: keys are made, checked and changed here as values; `service/door/keyring.py` keeps them.
"""
