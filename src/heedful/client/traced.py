"""A function whose every call is an episode: for agents that call an OpenAI client themselves.

    @client.traced(agent="support", user=lambda ticket: ticket.customer)
    def answer(ticket): ...

Inside, `headers()` puts any OpenAI client's request into the episode, and `current()` is the episode itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from heedful.client.episode import AsyncEpisode, Episode
from heedful.errors import InvalidInput

T = TypeVar("T")
P = ParamSpec("P")

User = str | Callable[..., str | None] | None  # a name, or what reads it off the function's arguments


class Decorator(Protocol):
    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]: ...


class AsyncDecorator(Protocol):
    def __call__(self, function: Callable[P, Awaitable[T]], /) -> Callable[P, Coroutine[Any, Any, T]]: ...


def blocking(
    begin: Callable[..., Episode], *, agent: str | None, user: User, fields: Mapping[str, Any]
) -> Decorator:
    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if inspect.iscoroutinefunction(function):
            raise InvalidInput(f"{function.__qualname__} is async: use AsyncClient.traced")
        _not_a_generator(function)

        @functools.wraps(function)
        def traced(*arguments: P.args, **named: P.kwargs) -> T:
            who = user(*arguments, **named) if callable(user) else user
            with begin(agent=agent, user=who, **fields):
                return function(*arguments, **named)

        return traced

    return decorate


def nonblocking(
    begin: Callable[..., AsyncEpisode], *, agent: str | None, user: User, fields: Mapping[str, Any]
) -> AsyncDecorator:
    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        _not_a_generator(function)
        if not inspect.iscoroutinefunction(function):
            raise InvalidInput(f"{_name(function)} is not async: use Client.traced")

        @functools.wraps(function)
        async def traced(*arguments: P.args, **named: P.kwargs) -> T:
            who = user(*arguments, **named) if callable(user) else user
            async with begin(agent=agent, user=who, **fields):
                return await function(*arguments, **named)

        return traced

    return decorate


def _not_a_generator(function: Callable[..., object]) -> None:
    """Its body runs when others ask for it, and may never end: no decorator can say when the episode does."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidInput(
            f"{_name(function)} is a generator: use `with client.episode(…)` around the loop over it"
        )


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))
