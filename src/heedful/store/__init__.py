"""What happened: the one place where records live, on SQLite or PostgreSQL.

`protocol.py` is all that the rest of the house knows. `views.py` answers named questions for people and
metrics; everything that must be exact (leases, releases, effects) goes through `commit`.
"""
