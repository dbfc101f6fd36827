"""A plan is what a method does, without waiting: it yields requests and pauses, and is told what came of them.

Both clients follow the same plans, one by blocking and one by awaiting, so that nothing is written twice: not
how something is tried again, not which requests there are. `Does` puts a plan into a class as a method whose
types are kept: on a `Blocking` it returns the result, on a `Nonblocking` something to await.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import httpx

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    again: bool = True  # may be sent a second time when nobody knows what became of the first


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing happens for so long."""

    seconds: float


Came = (
    httpx.Response | httpx.TransportError | None
)  # of a call its answer or why there is none; of a wait None
Plan = Generator[Call[Any] | Wait, Came, T]


class Blocking(ABC):
    """Follows plans in the thread that asked."""

    @abstractmethod
    def run(self, plan: Plan[T]) -> T: ...


class Nonblocking(ABC):
    """Follows plans while the event loop does other things."""

    @abstractmethod
    async def run(self, plan: Plan[T]) -> T: ...


class Does(Generic[P, T]):
    """A method that is a plan. `@Does` stands before a generator function, or before one that returns a plan."""

    def __init__(self, plan: Callable[Concatenate[Any, P], Plan[T]]) -> None:
        self._plan = plan
        self.__doc__ = plan.__doc__

    @overload
    def __get__(self, one: None, kind: type[Any]) -> Self: ...
    @overload
    def __get__(self, one: Blocking, kind: type[Any]) -> Callable[P, T]: ...
    @overload
    def __get__(self, one: Nonblocking, kind: type[Any]) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, one: Any, kind: type[Any]) -> Any:
        if one is None:
            return self

        @functools.wraps(self._plan)
        def method(*arguments: P.args, **named: P.kwargs) -> Any:
            return one.run(self._plan(one, *arguments, **named))

        return method
