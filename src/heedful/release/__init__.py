"""Stop 7: the fleet gets it bit by bit, or gives it back.

`allocate.py` says which policy answers a unit, `duty.py` what is live now, `gate.py` whether a release
goes on, waits, or ends. All of it is pure: the same records give the same decision on any machine.
"""
