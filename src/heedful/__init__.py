"""Heedful: agents in production get better from what people say and do about their work.

Start at `heedful.road`: it joins every stop, in order, a short file for each. `from heedful import Client` is what a
product needs; it is loaded when it is asked for, so that `import heedful` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("heedful.client"), name)
    raise AttributeError(f"module 'heedful' has no attribute {name!r}")
