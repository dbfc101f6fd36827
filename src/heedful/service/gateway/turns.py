"""A request and its reply as turns: one for each answer, the first one's id being the completion's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from heedful.dialect import chat
from heedful.dialect.chat import Keep, Wire
from heedful.domain.content import Answer, Message, Usage
from heedful.domain.episode import Turn
from heedful.domain.guard import Ruling
from heedful.domain.ids import EpisodeId, PolicyId, TurnId
from heedful.errors import Conflict
from heedful.feedback import capture
from heedful.inference.openai_http import Price
from heedful.road import Parts
from heedful.service.gateway.allotting import Allotted
from heedful.service.gateway.asking import Asked

MILLION = 1_000_000


def turns_of(
    parts: Parts,
    asked: Asked,
    allotted: Allotted,
    reply: Wire,
    *,
    first: TurnId,
    latency: float,
    price: Price | None = None,
    rulings: Sequence[Ruling] = (),
    keep: Keep | None = None,
) -> list[Turn]:
    """The reply of the policy as it goes on record."""
    answers = chat.answers_of(reply)
    request = chat.messages_of(asked.chat["messages"], keep=keep)
    now, sampling = parts.clock.now(), chat.sampling_of(chat.merged(asked.chat, allotted.policy.sampling))
    context, spend = asked.context, _spend(answers, reply.get("usage") or {}, price)
    return [
        Turn(
            id=turn_id(first, index),
            tenant=asked.tenant,
            episode=asked.episode,
            agent=asked.agent,
            at=now,
            request=request,
            answer=answer.text,
            policy=allotted.policy.id,
            index=index,
            sibling_of=first if index else None,
            tool_calls=answer.tool_calls,
            addressee=context.to or (None if answer.tool_calls else asked.to),
            parent=asked.parent,
            agent_instance=context.agent_instance,
            key=asked.key,
            finish=answer.finish,
            tokens=answer.tokens,
            sampling=sampling,
            allocation=allotted.allocation,
            config=parts.config,
            latency=round(latency, 6),
            usage=Usage(prompt_tokens=answer.prompt_tokens, answer_tokens=answer.answer_tokens, spend=spend),
            rulings=tuple(rulings),
            view=context.view_to_domain(),
            world=None if context.world is None else context.world.to_domain(),
            metadata=asked.metadata,
        )
        for index, answer in enumerate(answers)
    ]


def turn_id(first: TurnId, index: int) -> TurnId:
    return TurnId(f"{first}/{index}") if index else first


def _spend(answers: Sequence[Answer], usage: Mapping[str, int], price: Price | None) -> float | None:
    """What each of the answers cost: they share the request's price evenly."""
    if price is None or not usage:
        return None
    prompt, answer = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return (prompt * price.prompt + answer * price.answer) / MILLION / len(answers)


def same_request(turn: Turn, asked: Asked) -> bool:
    """Whether the turn answered this very request."""
    request: tuple[Message, ...] = chat.messages_of(asked.chat["messages"], keep=None)
    return turn.agent == asked.agent and capture.same_request(turn, request)


def with_text(turn: Turn) -> Turn:
    """The turn, if it can be said again as it was said the first time."""
    if not capture.has_text(turn):
        raise Conflict(
            f"what turn {turn.id!r} said was kept only as {turn.capture} (capture.tenants): it cannot be said "
            "again; ask with a new id, and send the conversation along",
            field="heedful.turn",
        )
    return turn


# -- an answer as it leaves ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class First:
    """Of the first turn, what an answer says about itself."""

    id: TurnId
    policy: PolicyId
    episode: EpisodeId
    at: datetime
    latency: float
    config: str | None

    @classmethod
    def of(cls, turn: Turn) -> First:
        return cls(turn.id, turn.policy, turn.episode, turn.at, turn.latency or 0.0, turn.config)


def completion(asked: Asked, first: First, reply: Wire) -> Wire:
    """The reply as the client gets it: everything that came, under our ids, without what only we wanted."""
    choices = [
        {**_shown(asked, choice), "index": index, "turn": turn_id(first.id, index)}
        for index, choice in enumerate(reply["choices"])
    ]
    return {**reply, **frame(asked, first, "chat.completion"), "choices": choices}


def frame(asked: Asked, first: First, kind: str) -> Wire:
    return {
        "id": first.id,
        "object": kind,
        "created": int(first.at.timestamp()),
        "model": asked.model,
        "system_fingerprint": first.config,
    }


def _shown(asked: Asked, choice: Wire) -> Wire:
    """Without log-probabilities and token ids that the client did not ask for."""
    shown = dict(choice)
    if not asked.chat.get("logprobs"):
        shown["logprobs"] = None
    if not asked.chat.get("return_token_ids"):
        shown.pop("token_ids", None)
    return shown


def reply_of_turns(turns: Sequence[Turn]) -> Wire:
    """What was answered, from the record: for a client that asks again."""
    answers = [
        Answer(
            text=turn.answer,
            finish=turn.finish,
            tool_calls=turn.tool_calls,
            tokens=turn.tokens,
            prompt_tokens=turn.usage.prompt_tokens,
            answer_tokens=turn.usage.answer_tokens,
        )
        for turn in turns
    ]
    return chat.reply_of(answers)
