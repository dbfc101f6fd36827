"""What has been kept for long enough goes."""

from __future__ import annotations

from datetime import datetime

from pydantic import StrictBool

from heedful.wire.fields import Name, Shape


class PurgeIn(Shape):
    """Remove what is older than the tenant's retention."""

    dry_run: StrictBool = False
    """Only count."""
    tenant: Name | None = None
    """Another tenant: only for an admin of the operator's own."""


class PurgedOut(Shape):
    """What was removed, or would be."""

    before: datetime | None
    """What was said before then; null: nothing is ever too old, and nothing was done."""
    gone: dict[str, int]
    """By kind, how many records went."""
    bare: dict[str, int]
    """By kind, how many stayed without their words, because their numbers are still needed."""
