"""One task: agents are asked, people say what they think of the answers, and it ends.

What is said goes to the last answer unless another turn is named, and to the whole episode where there is no
answer or `whole` says so. Leaving the block ends the episode; when an exception passes through, it was abandoned.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self, TypeVar

from heedful.client.calls import Completion, Messages, ask, new_id
from heedful.client.patience import only, tried
from heedful.client.plan import Blocking, Does, Nonblocking, Plan
from heedful.client.requests import Requests
from heedful.errors import Conflict, HeedfulError, InvalidInput
from heedful.wire import Kept

T = TypeVar("T")
log = logging.getLogger("heedful.client")

OF_TURNS = ("segment", "product", "language")  # what an episode and its turns and feedback have in common

_current: ContextVar[Task | None] = ContextVar("heedful_episode", default=None)


def current() -> Task:
    """The episode that this code is in."""
    task = _current.get()
    if task is None:
        raise Conflict("this is in no episode: call it in `with client.episode(…)` or a traced function")
    return task


def headers() -> dict[str, str]:
    """For any OpenAI client (`extra_headers=headers()`): they put the turn into this episode. Empty outside."""
    task = _current.get()
    return {} if task is None else task.headers


class Task:
    """What an episode can do, blocking or not."""

    def __init__(
        self, client: Requests, *, id: str | None, agent: str | None, fields: Mapping[str, Any]
    ) -> None:
        self.id = id or new_id("episode")
        self.agent = agent
        self.user: str | None = fields.get("user")
        self.last: str | None = None  # the turn that feedback goes to
        self.ended = False
        self._client = client
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._shared = {name: self._fields[name] for name in OF_TURNS if name in self._fields}
        self._token: Token[Task | None] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What puts an OpenAI client's request into this episode."""
        said = {"episode": self.id, "user": self.user, **self._shared}
        return {f"x-heedful-{name}": value for name, value in said.items() if value is not None}

    def answered(self, turn: str) -> None:
        """An answer came through another client: what is said next is about it. Its `id` is the turn's."""
        self.last = turn

    @Does
    def ask(
        self,
        /,
        messages: Messages,
        *,
        agent: str | None = None,
        to: str | None = None,
        parent: str | None = None,
        turn: str | None = None,
        context: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Plan[Completion]:
        """Ask an agent, the episode's own unless another is named. `to` and `parent` say who speaks to whom."""
        asked = agent or self.agent
        if asked is None:
            raise InvalidInput(f"episode {self.id!r} has no agent of its own: name one", field="agent")
        call = ask.complete(
            asked,
            messages,
            episode=self.id,
            user=self.user,
            to=to,
            parent=parent,
            turn=turn,
            context={**self._shared, **(context or {})},
            **more,
        )
        answer = yield from tried(call, self._client.patience)
        self.last = answer.turn
        return answer

    # -- what people say ---------------------------------------------------------------------------------

    @Does
    def say(
        self, /, said: Mapping[str, Any], *, turn: str | None = None, whole: bool = False, **fields: Any
    ) -> Plan[Kept]:
        """Any form. `fields` are the others of `wire.FeedbackIn`: by, confidence, metadata …"""
        return self._say(said, turn, whole, fields)

    @Does
    def rate(
        self,
        /,
        value: float,
        *,
        low: float = 1,
        high: float = 5,
        aspect: str | None = None,
        turn: str | None = None,
        whole: bool = False,
        **fields: Any,
    ) -> Plan[Kept]:
        """A number from `low` to `high`."""
        said = {"form": "rating", "value": value, "low": low, "high": high, "aspect": aspect}
        return self._say(said, turn, whole, fields)

    @Does
    def thumbs(
        self, /, *, up: bool, turn: str | None = None, whole: bool = False, **fields: Any
    ) -> Plan[Kept]:
        """Good or bad."""
        return self._say({"form": "thumbs", "up": up}, turn, whole, fields)

    @Does
    def correct(
        self,
        /,
        text: str,
        *,
        kind: str | None = None,
        turn: str | None = None,
        whole: bool = False,
        **fields: Any,
    ) -> Plan[Kept]:
        """What the answer should have been. `kind`: fact, tone, action, format, safety …"""
        return self._say({"form": "correction", "text": text, "kind": kind}, turn, whole, fields)

    @Does
    def confirm(
        self, /, *, strength: float = 1.0, turn: str | None = None, whole: bool = False, **fields: Any
    ) -> Plan[Kept]:
        """The answer was used as it was; strength 0 is grudgingly, 1 gladly."""
        return self._say({"form": "confirmation", "strength": strength}, turn, whole, fields)

    @Does
    def flag(
        self, /, reason: str, *, turn: str | None = None, whole: bool = False, **fields: Any
    ) -> Plan[Kept]:
        """A person should look at this."""
        return self._say({"form": "flag", "reason": reason}, turn, whole, fields)

    def _say(
        self, said: Mapping[str, Any], turn: str | None, whole: bool, fields: Mapping[str, Any]
    ) -> Plan[Kept]:
        about = None if whole else turn or self.last
        target = {"episode": self.id} if about is None else {"turn": about}
        by = {} if self.user is None else {"by": self.user}
        return only((yield from self._client.say([{**by, **self._shared, **target, "said": said, **fields}])))

    # -- the end -----------------------------------------------------------------------------------------

    @Does
    def done(self, /, *, outcome: float | None = None, quality: float | None = None) -> Plan[None]:
        """The task is over. `outcome` 0 to 1 is shared by its agents; `quality` 0 to 1 is kept as feedback."""
        if quality is not None:
            said = {
                "form": "completion",
                "completed": True,
                "quality": quality,
                "task_type": self._fields.get("task_type"),
            }
            yield from self._say(said, None, True, {})
        yield from self._end("done", outcome)

    @Does
    def abandon(self, /, *, outcome: float | None = None) -> Plan[None]:
        """The task is over and was not done."""
        return self._end("abandoned", outcome)

    def _end(self, state: str, outcome: float | None) -> Plan[None]:
        yield from self._client.tell(ask.end_episode(self.id, state=state, outcome=outcome))
        self.ended = True

    def _enter(self) -> Plan[None]:
        # Begun at once, so that what is said has something to be about, also where no answer comes.
        yield from self._client.tell(ask.begin_episode(**{"id": self.id, **self._fields}))
        self._token = _current.set(self)

    def _leave(self, error: BaseException | None) -> Plan[None]:
        if self._token is not None:
            _current.reset(self._token)
        if self.ended:
            return
        try:
            yield from self._end("done" if error is None else "abandoned", None)
        except HeedfulError as ours:
            if error is None:
                raise
            # The exception that passes through is the one to be seen.
            log.warning("episode not ended", extra={"episode": self.id, "reason": str(ours)})


class Episode(Task, Blocking):
    """`with client.episode(user=…, agent=…) as episode:`"""

    def __init__(self, client: Any, *, id: str | None, agent: str | None, fields: Mapping[str, Any]) -> None:
        super().__init__(client, id=id, agent=agent, fields=fields)
        self._runner: Blocking = client

    def run(self, plan: Plan[T]) -> T:
        return self._runner.run(plan)

    def __enter__(self) -> Self:
        self.run(self._enter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.run(self._leave(error))


class AsyncEpisode(Task, Nonblocking):
    """`async with client.episode(user=…, agent=…) as episode:`"""

    def __init__(self, client: Any, *, id: str | None, agent: str | None, fields: Mapping[str, Any]) -> None:
        super().__init__(client, id=id, agent=agent, fields=fields)
        self._runner: Nonblocking = client

    async def run(self, plan: Plan[T]) -> T:
        return await self._runner.run(plan)

    async def __aenter__(self) -> Self:
        await self.run(self._enter())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.run(self._leave(error))
