"""The house over HTTP: the gateway that agents call, and the API for everything else.

`api.py` puts it together. Each topic has a page with its handlers and, at the end, a table of its routes:
path, what a caller must be allowed to do, handler. A route without such an entry cannot be made.
"""
