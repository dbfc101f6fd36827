"""Stop 6: weights get a name, a number and parents."""
