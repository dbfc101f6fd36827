"""A child process lives exactly as long as its parent.

The parent holds the other end of the child's standard input and never writes to it, so end-of-file means that
the parent is gone, however it died. An orphan that trains on is worse than one that dies.
"""

from __future__ import annotations

import os
import threading

ORPHANED = 3  # exit code


def die_with_parent() -> None:
    """Called once, at the child's start."""

    def wait() -> None:
        # Not through sys.stdin: its lock, held by this thread, would abort the interpreter at its normal end.
        while os.read(0, 1024):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=wait, daemon=True).start()
