"""A world in which the truth is known: people, their tickets, and what a good answer would be."""
