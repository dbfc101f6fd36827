"""Stop 8: is it still good? A signal that leaves its band becomes an alert, and an alert may act."""
