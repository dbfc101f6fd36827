"""What things are: frozen values that cannot be wrong.

No file is read here and no clock: a value is built from what it is given, checks itself once, and is
never checked again. `docs/glossary.md` keeps the one meaning of each word.
"""
