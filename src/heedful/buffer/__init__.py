"""What came in lately, on its way to what learns from it: bounded, and drawn from by how recent it is.

`recent` holds anything in memory; `directory` keeps rows on disk, with what became of each. Neither is the only copy
of what somebody said: that is the store.
"""
