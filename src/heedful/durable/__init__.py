"""Workflows that survive: what was begun goes on after a crash, and no step is done twice."""
