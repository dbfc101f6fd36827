"""What comes back whatever was asked: errors, and pages of a list."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel

from heedful.wire.fields import Shape

T = TypeVar("T")


class ErrorOut(Shape):
    """What went wrong, in OpenAI's words."""

    message: str
    """For people: the thing, the value and the way out."""
    type: str
    """invalid_request_error, authentication_error, permission_error, rate_limit_error or server_error."""
    param: str | None = None
    """Dotted path of the field."""
    code: str
    """invalid_input, not_found, conflict …: for programs."""


class ErrorBody(Shape):
    """The body of every error."""

    error: ErrorOut
    """What went wrong."""


class ListOf(BaseModel, Generic[T]):
    """A page."""

    results: tuple[T, ...]
    next: int | None
    """The `after` of the next page; None when this is the last."""
