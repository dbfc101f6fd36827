"""Numbers over time: what a run was started with, and how its losses, rewards and speeds went.

`protocol` is the seam and what every adapter promises; `files` keeps a run as one JSON-lines file that
anything can read; `drawing` makes a small picture of its curves. Tracking is for looking: what must not be
lost goes to the store.
"""
