"""What the commands of `cli.py` do: each a function that a program could call, and what a person sees of it."""
