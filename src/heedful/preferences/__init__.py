"""Stop 3: verdicts become something to learn from.

`build.py` turns feedback and verdicts into rows; `freeze.py` puts rows into splits and gives them one digest.
"""
