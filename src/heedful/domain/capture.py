"""How much of what was said is kept. A record remembers it, so that nobody takes what is missing for silence."""

from __future__ import annotations

from enum import StrEnum


class Capture(StrEnum):
    FULL = "full"  # as it was said
    REDACTED = "redacted"  # what is personal has a mark in its place
    METADATA = "metadata"  # numbers, names of things and times, and no text
