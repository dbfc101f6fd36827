"""The API, a page for each topic: its handlers and, at the end, a table of its routes.

`routes.py` is what all pages use, `openapi.py` is what clients read about them.
"""
