"""The disk's last reserve: feedback is refused while there is still room to say so in good order.

A database on a full disk fails in the middle of something. Here those who send are told to wait, and the
audit log, releases and whatever frees space again can still be written.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from heedful.errors import Busy

FRESH_SECONDS = 1.0  # how long an answer of the disk is believed
RETRY_SECONDS = 30.0


class Floor:
    """`least` bytes stay free on the disk of `path`; without a path nothing is asked."""

    def __init__(self, path: Path | None, least: int) -> None:
        self._path = path
        self._least = least
        self._free = least
        self._looked = float("-inf")

    def check(self) -> None:
        """Nothing, or `Busy` that says how much is missing."""
        if self._path is None or self._least <= 0:
            return
        now = time.monotonic()
        if now - self._looked > FRESH_SECONDS:
            self._looked = now
            self._free = shutil.disk_usage(self._path).free
        if self._free < self._least:
            raise Busy(
                f"the disk has {self._free >> 20} MiB left and server.disk_floor_mb is {self._least >> 20}: "
                "nothing more is taken in until there is room",
                retry_after=RETRY_SECONDS,
            )
