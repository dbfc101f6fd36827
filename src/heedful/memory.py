"""Give memory back to the system: the C library keeps what was freed, and a server that runs for months looks
as if it leaked."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

EVERY_SECONDS = 15.0


def trimmer() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; None where the C library is another."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


async def give_back(every: float = EVERY_SECONDS) -> None:
    """Again and again, until cancelled; in a thread, because it may take milliseconds."""
    trim = trimmer()
    while trim is not None:
        await asyncio.sleep(every)
        await asyncio.to_thread(trim, 0)
