"""The Chromium that is installed, for tests that need a real browser; nothing is downloaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from _services import NotHere

QUIET = (  # it talks to nobody but our pages
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise NotHere("no chromium found: install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NotHere("no playwright found: install the extra dev") from error
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()
