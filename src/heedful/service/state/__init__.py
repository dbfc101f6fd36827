"""What this process knows without asking the store, and what it has counted. When it ends, all of it is gone."""
