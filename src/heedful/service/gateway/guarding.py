"""Guards around an answer: asked before the policy is, and before its answer leaves.

What they decided is kept with the turn. A held one waits for a person; when nobody decides in time it is
refused, because the guard would not let it go by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from heedful.dialect import chat
from heedful.dialect.chat import Wire
from heedful.domain.content import Message
from heedful.domain.guard import Decision, Ruling
from heedful.guards.protocol import Ruled
from heedful.road import Parts
from heedful.service.gateway.asking import Asked
from heedful.service.state.holds import Held, Holds

REFUSED = "I can't help with that."
NOBODY = "nobody decided in time"


@dataclass(frozen=True, slots=True)
class Passed:
    """What is left of a text after the guards, and what they said. None: it was refused."""

    text: str | None
    rulings: tuple[Ruling, ...]


@dataclass(frozen=True, slots=True)
class Guarding:
    parts: Parts
    holds: Holds
    hold_seconds: float

    @property
    def on(self) -> bool:
        return bool(self.parts.guards)

    async def before(self, asked: Asked) -> tuple[Asked | None, tuple[Ruling, ...]]:
        """The request as it may be asked; None when it may not."""
        messages = chat.messages_of(asked.chat["messages"])
        said = messages[-1].text
        passed = await self._through(asked, messages, said, None)
        if passed.text is None:
            return None, passed.rulings
        if passed.text == said:
            return asked, passed.rulings
        last = {**asked.chat["messages"][-1], "content": passed.text}
        changed = {**asked.chat, "messages": [*asked.chat["messages"][:-1], last]}
        return replace(asked, chat=changed), passed.rulings

    async def after(self, asked: Asked, reply: Wire) -> tuple[Wire, tuple[Ruling, ...]]:
        """The reply as it may leave."""
        messages = chat.messages_of(asked.chat["messages"])
        rulings: list[Ruling] = []
        choices: list[Wire] = []
        for choice in reply["choices"]:
            said = chat.words_of(choice["message"].get("content"))
            passed = await self._through(asked, messages, said, said)
            rulings += passed.rulings
            choices.append(choice if passed.text == said else _instead(choice, passed.text))
        return {**reply, "choices": choices}, tuple(rulings)

    async def _through(
        self, asked: Asked, messages: Sequence[Message], text: str, answer: str | None
    ) -> Passed:
        rulings: list[Ruling] = []
        for guard in self.parts.guards:
            ruled = await (guard.before(messages) if answer is None else guard.after(messages, text))
            if ruled is None:
                continue
            rulings.append(ruled.ruling)
            match ruled.ruling.decision:
                case Decision.REWRITE:
                    text = ruled.text or ""
                case Decision.REFUSE:
                    return Passed(None, tuple(rulings))
                case Decision.HOLD:
                    decided = await self._held(asked, messages, ruled, None if answer is None else text)
                    rulings.append(decided.ruling)
                    if decided.ruling.decision is Decision.REFUSE:
                        return Passed(None, tuple(rulings))
                    text = text if decided.text is None else decided.text
        return Passed(text, tuple(rulings))

    async def _held(
        self, asked: Asked, messages: Sequence[Message], ruled: Ruled, answer: str | None
    ) -> Ruled:
        now = self.parts.clock.now()
        held = Held(
            id=self.parts.mint("held"),
            tenant=asked.tenant,
            agent=asked.agent,
            episode=asked.episode,
            request=tuple(messages),
            answer=answer,
            ruling=ruled.ruling,
            since=now,
            until=now + timedelta(seconds=self.hold_seconds),
        )
        decided = await self.holds.wait(held)
        if decided is None:
            return Ruled(ruling=Ruling(guard="overwatch", decision=Decision.REFUSE, reason=NOBODY))
        said = Ruling(guard=f"overwatch:{decided.by}", decision=decided.decision, reason=decided.reason)
        return Ruled(ruling=said, text=decided.text)


def refusal(n: int) -> Wire:
    """A reply that nobody was asked for."""
    choice = {"message": {"role": "assistant"}, "finish_reason": "stop"}
    choices = [{**_instead(choice, None), "index": index} for index in range(n)]
    return {"object": "chat.completion", "choices": choices, "usage": {}}


def _instead(choice: Wire, text: str | None) -> Wire:
    """The choice with other words; its tokens were of the old ones."""
    kept = {name: value for name, value in choice.items() if name != "token_ids"}
    message = {"role": "assistant", "content": REFUSED if text is None else text, "refusal": None}
    finish = "content_filter" if text is None else choice.get("finish_reason")
    return {**kept, "message": message, "logprobs": None, "finish_reason": finish}
