"""How a request comes in: who asks, whether they may and how fast, and what comes back when they may not.

`front.py` is the door itself, and what is beside it are its questions: whose key it is (`auth`, `keyring`), how
much of it and how fast (`limits`, `patience`, `floor`), whether it reads (`body`). Whatever is refused, here or
further in, is said in the words of `errors.py`.
"""
