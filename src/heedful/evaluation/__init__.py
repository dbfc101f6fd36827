"""Stop 6, the other half: what is found out about a policy before anybody meets it."""
