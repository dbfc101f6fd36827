"""How often and after how long something is tried again, and which error it is when it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Any, TypeVar

import httpx

from heedful import errors
from heedful.client.plan import Call, Plan, Wait
from heedful.errors import Busy, HeedfulError, InvalidInput, Unavailable
from heedful.wire import ErrorOut, Kept

T = TypeVar("T")

ATTEMPTS = 8
FIRST_WAIT, LONGEST_WAIT = 0.2, 20.0  # seconds between attempts
PASSING = frozenset({429, 502, 503, 504})
PASSING_CODES = frozenset({"busy", "too_fast", "unavailable"})
BY_STATUS: Mapping[int, type[HeedfulError]] = {
    400: InvalidInput,
    401: errors.NotKnown,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: InvalidInput,
    429: errors.TooFast,
    500: HeedfulError,
}
KINDS: Mapping[str, type[HeedfulError]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HeedfulError)
}
"""By the code in an error's body: the class that the server raised."""


@dataclass
class Patience:
    """How often and after how long something is tried again."""

    attempts: int = ATTEMPTS
    first: float = FIRST_WAIT  # seconds after the first attempt, then twice as many each time
    longest: float = LONGEST_WAIT
    random: Random = field(default_factory=SystemRandom)

    def after_answer(self, call: Call[Any], response: httpx.Response, attempt: int) -> float | None:
        """Seconds to wait before the next attempt; None when this answer is final."""
        if response.status_code not in PASSING or attempt >= self.attempts:
            return None
        if not call.again and response.status_code in {502, 504}:
            return None  # nobody knows whether it was done
        asked = asked_to_wait(response)
        return self.jittered(attempt) if asked is None else asked + self.random.uniform(0, 0.5 * self.first)

    def after_silence(self, call: Call[Any], error: httpx.TransportError, attempt: int) -> float | None:
        never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        if attempt >= self.attempts or not (call.again or never_sent):
            return None
        return self.jittered(attempt)

    def jittered(self, attempt: int) -> float:
        return self.random.uniform(0.5, 1.0) * min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))


def tried(call: Call[T], patience: Patience) -> Plan[T]:
    """Send it until there is an answer that is final."""
    attempt = 0
    while True:
        attempt += 1
        came = yield call
        if isinstance(came, httpx.Response):
            if came.is_success:
                return call.read(came)
            wait = patience.after_answer(call, came, attempt)
            if wait is None:
                raise failure(came)
        else:
            assert came is not None
            wait = patience.after_silence(call, came, attempt)
            if wait is None:
                raise _unanswered(call, came) from came
        yield Wait(wait)


def tried_by_piece(call: Call[list[Kept]], patience: Patience) -> Plan[list[Kept]]:
    """A list whose pieces are answered one by one: those that only met a full server are sent again."""
    kept = yield from tried(call, patience)
    for attempt in range(1, patience.attempts):
        places = passing(kept)
        if not places:
            break
        yield Wait(patience.jittered(attempt))
        repeated = yield from tried(_some(call, places), patience)
        for place, one in zip(places, repeated, strict=True):
            kept[place] = one
    return kept


def passing(kept: Sequence[Kept]) -> list[int]:
    """Places of those that were refused only because the server was busy."""
    return [place for place, one in enumerate(kept) if one.error and one.error.code in PASSING_CODES]


def only(kept: Sequence[Kept]) -> Kept:
    """The only result, or its error as an exception."""
    (result,) = kept
    if result.error is None:
        return result
    raise as_exception(KINDS.get(result.error.code, InvalidInput), result.error)


def failure(response: httpx.Response) -> HeedfulError:
    """What the server says, as the exception that it was there."""
    try:
        said = ErrorOut.model_validate(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        said = ErrorOut(message=f"the server says {response.status_code} and not why", type="", code="")
    kind = KINDS.get(said.code) or BY_STATUS.get(response.status_code, Unavailable)
    return as_exception(kind, said, asked_to_wait(response) or 1.0)


def as_exception(kind: type[HeedfulError], said: ErrorOut, retry_after: float = 1.0) -> HeedfulError:
    if issubclass(kind, Busy):
        return kind(said.message, retry_after=retry_after)
    return kind(said.message, field=said.param)


def asked_to_wait(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _unanswered(call: Call[Any], error: httpx.TransportError) -> Unavailable:
    try:
        url = error.request.url.copy_with(raw_path=b"/")
    except RuntimeError:  # it was lost before it was a request
        return Unavailable(f"the server does not answer {call.path}: {error!r}")
    return Unavailable(f"the server at {url} does not answer: {error!r}")


def _some(call: Call[list[Kept]], places: Sequence[int]) -> Call[list[Kept]]:
    return Call(
        method=call.method,
        path=call.path,
        body=[call.body[place] for place in places],
        read=call.read,
        headers=call.headers,
    )
