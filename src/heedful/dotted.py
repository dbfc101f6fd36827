"""A function by its name: "package.module:function", as settings write it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from heedful.errors import Misconfigured


def resolve(path: str, what: str) -> Callable[..., Any]:
    """The function behind `path`; `what` it is for stands in the refusal."""
    module, found, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name) if found else None
    except (ImportError, AttributeError, ValueError) as error:
        raise Misconfigured(f"no {what} at {path!r}: {error}") from error
    if not callable(function):
        raise Misconfigured(f"{path!r} is not a function: write it as package.module:function")
    result: Callable[..., Any] = function
    return result
