"""Which of several servers is asked next: the one with the least to do, of those that work.

A circuit breaker for each: after a few failures in a row a server is left alone for a while, then one request
tries it again. Nothing here sends anything or reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from heedful.errors import Unavailable

OPENS_AFTER = 5  # failures in a row
LEFT_ALONE = 5.0  # seconds


@dataclass(slots=True, eq=False)
class Replica:
    url: str
    asked: int = 0  # requests that wait for it now
    failures: int = 0  # in a row
    closed_until: float = 0.0  # not asked before, unless there is no other
    trying: bool = False  # one request finds out whether it works again

    @property
    def works(self) -> bool:
        """As far as we know."""
        return self.failures < OPENS_AFTER

    def may_be_asked(self, now: float) -> bool:
        return self.works or (now >= self.closed_until and not self.trying)


@dataclass(slots=True)
class Replicas:
    name: str  # of the upstream, for errors
    all: Sequence[Replica]
    _turn: int = field(default=0)

    def choose(self, now: float, *, besides: Sequence[Replica] = ()) -> Replica:
        """The next to be asked; `besides` are those that failed this very request already."""
        self._turn += 1
        usable = [one for one in self.all if one.may_be_asked(now)]
        fresh = [one for one in usable if one not in besides] or usable
        if not fresh:
            wait = max(0.0, min(one.closed_until for one in self.all) - now)
            raise Unavailable(
                f"upstream {self.name!r} failed {OPENS_AFTER} times in a row and is left alone "
                f"for {wait:.1f} s more: look at {', '.join(one.url for one in self.all)}"
            )
        place = self._turn % len(fresh)
        chosen = min((*fresh[place:], *fresh[:place]), key=lambda one: one.asked)
        chosen.asked += 1
        chosen.trying = not chosen.works
        return chosen

    def worked(self, replica: Replica) -> None:
        replica.asked -= 1
        replica.failures, replica.trying = 0, False

    def failed(self, replica: Replica, now: float) -> None:
        replica.asked -= 1
        replica.failures += 1
        replica.trying = False
        if not replica.works:
            replica.closed_until = now + LEFT_ALONE

    def let_go(self, replica: Replica) -> None:
        """Nobody waits for it any longer: that says nothing about the server."""
        replica.asked -= 1
        replica.trying = False
