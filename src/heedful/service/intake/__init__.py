"""What was sent or answered, taken in and kept: nobody is told that it is before it is on disk.

Turns go through `recorder.py`, feedback through `collector.py`, and feedback that came before what it is about
is brought together with it by `joiner.py`.
"""
