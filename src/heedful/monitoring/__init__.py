"""Stop 8: is it still good? Signals with bands; one that leaves its band becomes an alert, and an alert may act."""
