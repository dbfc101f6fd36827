"""Where a guard is asked: before a policy is, and before its answer leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from heedful.domain.content import Message
from heedful.domain.guard import Ruling


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """A ruling, and the text that takes the place of what was said where it is `rewrite`."""

    ruling: Ruling
    text: str | None = None


class Guard(Protocol):
    """Looks at what goes in and what comes out. None means that it has nothing to say.

    Every guard keeps these promises (tests/service/test_guards.py):
    - the same texts get the same ruling;
    - it decides in a bounded time, and raises instead of letting something through that it could not judge.
    """

    async def before(self, messages: Sequence[Message]) -> Ruled | None:
        """`rewrite` replaces the text of the last message."""
        ...

    async def after(self, messages: Sequence[Message], answer: str) -> Ruled | None: ...
