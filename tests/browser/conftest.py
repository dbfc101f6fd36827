"""The real app for real browsers: the parts are those of the service's tests."""

from __future__ import annotations

from service.conftest import app, key_for, loop, parts

__all__ = ["app", "key_for", "loop", "parts"]
