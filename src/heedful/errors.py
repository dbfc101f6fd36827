"""Every error that Heedful raises on purpose, on one page.

The class says who must act; the message names the thing, the value and the way out. A seam translates
foreign exceptions into these with `from`, so that nobody above it needs to know which library failed.
"""

from __future__ import annotations


class HeedfulError(Exception):
    """Anything that Heedful refuses or fails at, knowingly."""

    status = 500  # the HTTP status that says the same

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field  # dotted path of the offending field; None when it is about the whole


class InvalidInput(HeedfulError):
    """The caller sent something that cannot be: change it and send it again."""

    status = 422


class Malformed(InvalidInput):
    """What came does not even read, as JSON or as an address."""

    status = 400


class NotFound(HeedfulError):
    """No such thing in this tenant: check the id."""

    status = 404


class Conflict(HeedfulError):
    """The thing exists and does not allow this now: read its state, then decide."""

    status = 409


class NotAllowed(HeedfulError):
    """This key may not do that: use another, or ask an admin."""

    status = 403


class OverBudget(NotAllowed):
    """This key has spent what it may: raise its limit, or wait for the next month."""

    status = 402


class NotKnown(NotAllowed):
    """No valid key came with the request: send one."""

    status = 401


class TooLarge(HeedfulError):
    """More bytes than we take in one piece: send less."""

    status = 413


class TooSlow(HeedfulError):
    """What was announced did not come in time: send it again."""

    status = 408


class Busy(HeedfulError):
    """Full for the moment: wait and send it again."""

    status = 503

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class TooFast(Busy):
    """This key sends more than it may: slow down."""

    status = 429


class Declined(HeedfulError):
    """Whoever answers for the policy does not take this request: its own words say why."""

    def __init__(
        self, message: str, *, status: int, field: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.status = status
        self.code = code


class Unavailable(HeedfulError):
    """Something that we depend on does not answer: look there."""

    status = 503


class Misconfigured(HeedfulError):
    """A setting cannot work: the message names it and says what would."""


class Corrupt(HeedfulError):
    """Stored bytes are not what was stored: stop and investigate."""


class TrainingFailed(HeedfulError):
    """A run ended without usable weights; its log says at which step."""
