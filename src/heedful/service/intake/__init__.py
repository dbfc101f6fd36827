"""What was sent or answered, taken in and kept: nobody is told that it is before it is on disk.

Turns go through `recorder.py`, feedback through `ingest.py` and from there, together with what else has come,
through `collector.py`. Feedback that came before what it is about meets it in `joiner.py`, and what could not be
taken is heard once more in `replaying.py`.
"""
