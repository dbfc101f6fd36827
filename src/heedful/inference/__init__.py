"""Prompts in, answers out: from a child process with torch, from another server, or from a script."""
