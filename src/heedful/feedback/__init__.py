"""Stop 1: something happened and somebody said something about it.

`intake.py` checks what was said against what is known and completes it; `implicit/` reads what nobody said
out loud from the conversation. Nothing is stored here.
"""
