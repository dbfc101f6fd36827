"""Lines of JSON around OpenAI's API: logs of requests with replies, stored completions, batches, fine-tuning chats.

A batch has its requests in one file and its replies in another: give both, and they find each other by their
`custom_id`. A chat for fine-tuning is one episode, and each of its assistant's messages a turn; as it has no id,
it is known by what it says.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from heedful.domain.content import Answer, Message, Role, Sampling, Usage
from heedful.domain.episode import Episode, EpisodeState, Purpose, Turn
from heedful.domain.ids import AgentId, EpisodeId, PersonId, TurnId
from heedful.errors import InvalidInput
from heedful.feedback.formats import plain
from heedful.feedback.formats.found import (
    LONGEST_VALUE,
    MODEL,
    RESPONSE,
    USER,
    Found,
    Problem,
    Reading,
    foreign,
    in_time,
    named,
    policy_id,
)
from heedful.feedback.formats.items import Item
from heedful.feedback.formats.messages import answer_of, messages_of

SOURCE = "openai"
WAITING = 100_000  # halves of a batch's lines that wait for their other half
BYTES = 64 * 2**20  # that these may take
CONVERSATION = ("conversation_id", "session_id", "thread_id", "episode", "heedful_episode")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its reply, from wherever they stood."""

    where: str
    request: Json
    reply: Json
    at: datetime | None = None  # where the log says it beside the reply


def read(items: Iterable[Item], reading: Reading) -> Iterator[Found]:
    halves = _Halves()
    for item in items:
        try:
            yield from _one(item, item.value, halves, reading)
        except InvalidInput as error:
            yield Found(problems=(Problem(where=item.where, reason=str(error)),))
    yield Found(problems=tuple(halves.left()))


def _one(item: Item, value: Any, halves: _Halves, reading: Reading) -> Iterator[Found]:
    if not isinstance(value, dict):
        raise InvalidInput("it is no object")
    if isinstance(value.get("data"), list) and item.value is value:  # a page of stored completions
        for place, inner in enumerate(value["data"]):
            where = f"{item.where}, item {place + 1}"
            try:
                yield from _one(Item(where, None, 0), inner, halves, reading)
            except InvalidInput as error:
                yield Found(problems=(Problem(where=where, reason=str(error)),))
        return
    if "custom_id" in value:
        pair = halves.take(item, value)
        problems = tuple(halves.dropped())
        if problems:
            yield Found(problems=problems)
        if pair is not None:
            yield _of_exchange(pair, reading)
        return
    if "preferred_output" in value:
        raise InvalidInput("it is a preference between two answers, which nobody gave: only one is said")
    if isinstance(value.get("request"), dict) and isinstance(value.get("response"), dict):
        yield _of_exchange(_logged(item.where, value), reading)
    elif isinstance(value.get("response"), dict) and isinstance(value.get("messages"), list):
        yield _of_exchange(Exchange(where=item.where, request=value, reply=value["response"]), reading)
    elif isinstance(value.get("choices"), list) or isinstance(value.get("output"), list):
        yield _of_exchange(Exchange(where=item.where, request=value, reply=value), reading)
    elif isinstance(value.get("messages"), list):
        yield _of_chat(item.where, value, reading)
    else:
        raise InvalidInput("it has neither messages, nor choices, nor a request with its response")


# -- requests with replies -----------------------------------------------------------------------------------


def _logged(where: str, value: Json) -> Exchange:
    request, reply = value["request"], value["response"]
    inner = [plain.mapping(one.get("body")) for one in (request, reply)]
    at = plain.moment(plain.first(value, "timestamp", "created_at", "time", "at"))
    return Exchange(where=where, request=inner[0] or request, reply=inner[1] or reply, at=at)


class _Halves:
    """Requests and replies of batches, until both are there."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[str, bool], tuple[str, Json, int]] = OrderedDict()
        self._bytes = 0

    def take(self, item: Item, value: Json) -> Exchange | None:
        id = plain.name(value.get("custom_id"))
        if id is None:
            raise InvalidInput("custom_id is empty")
        replied = "response" in value or "error" in value
        half = _reply(value, id) if replied else plain.mapping(value.get("body"))
        other = self._waiting.pop((id, not replied), None)
        if other is None:
            self._waiting[id, replied] = (item.where, half, item.size)
            self._bytes += item.size
            return None
        self._bytes -= other[2]
        return Exchange(
            where=item.where, request=other[1] if replied else half, reply=half if replied else other[1]
        )

    def dropped(self) -> Iterator[Problem]:
        while len(self._waiting) > WAITING or self._bytes > BYTES:
            key, (where, _, size) = self._waiting.popitem(last=False)
            self._bytes -= size
            yield _alone(key, where)

    def left(self) -> Iterator[Problem]:
        for key, (where, _, _) in self._waiting.items():
            yield _alone(key, where)


def _alone(key: tuple[str, bool], where: str) -> Problem:
    id, replied = key
    missing = "request is not in these files: give the batch's input too" if replied else "reply is not here"
    return Problem(where=where, reason=f"custom_id {id[:80]!r}: its {missing}")


def _reply(value: Json, id: str) -> Json:
    response = plain.mapping(value.get("response"))
    if value.get("error") or (plain.whole(response.get("status_code")) or 200) >= 400:
        raise InvalidInput(f"the request {id[:80]!r} failed: nothing was answered")
    return plain.mapping(response.get("body"))


def _of_exchange(pair: Exchange, reading: Reading) -> Found:
    asked, reply = pair.request, pair.reply
    request = _messages(asked)
    answers = _answers(reply)
    if not answers:
        raise InvalidInput("the reply has no answer in it")
    response = plain.name(reply.get("id"))
    id = foreign(SOURCE, response or _digest({"request": asked, "reply": reply}))
    at = pair.at or plain.moment(plain.first(reply, "created", "created_at")) or reading.now
    meta = {**plain.mapping(reply.get("metadata")), **plain.mapping(asked.get("metadata"))}
    usage = plain.mapping(reply.get("usage"))
    model = plain.name(plain.first(reply, MODEL)) or plain.name(asked.get(MODEL)) or "unknown"
    return _found(
        pair.where,
        reading,
        id=id,
        at=in_time(at, reading),
        meta=meta,
        user=plain.name(plain.first(asked, USER, "safety_identifier")) or plain.name(meta.get("user_id")),
        model=model,
        steps=[(request, answers)],
        sampling=_sampling(asked),
        usage=Usage(
            prompt_tokens=plain.whole(plain.first(usage, "prompt_tokens", "input_tokens")),
            answer_tokens=plain.whole(plain.first(usage, "completion_tokens", "output_tokens"))
            if len(answers) == 1
            else None,
        ),
        response=response,
    )


def _messages(asked: Json) -> tuple[Message, ...]:
    told = plain.first(asked, "messages", "input_messages")
    if isinstance(told, list):
        return messages_of(told)
    return (
        *messages_of(asked.get("instructions"), role=Role.SYSTEM),
        *messages_of(plain.first(asked, "input", "prompt")),
    )


def _answers(reply: Json) -> tuple[Answer, ...]:
    choices = reply.get("choices")
    if isinstance(choices, list):
        return tuple(
            answer_of(plain.first(one, "message", "text"), finish=one.get("finish_reason"))
            for one in choices
            if isinstance(one, dict)
        )
    output = reply.get("output")
    return (answer_of(output, finish=reply.get("status")),) if isinstance(output, list) and output else ()


def _sampling(asked: Json) -> Sampling:
    stop = asked.get("stop")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return Sampling(
        temperature=plain.number(asked.get("temperature")),
        top_p=plain.number(asked.get("top_p")),
        max_tokens=plain.whole(
            plain.first(asked, "max_completion_tokens", "max_output_tokens", "max_tokens")
        ),
        seed=plain.whole(asked.get("seed")),
        stop=tuple(one for one in stops if isinstance(one, str)),
    )


# -- chats ---------------------------------------------------------------------------------------------------


def _of_chat(where: str, value: Json, reading: Reading) -> Found:
    """What the assistant says, each time in answer to all that was said before."""
    steps: list[tuple[tuple[Message, ...], tuple[Answer, ...]]] = []
    before: tuple[Message, ...] = ()
    for raw in value["messages"]:
        said = messages_of([raw])
        spoke = [one for one in said if one.role is Role.ASSISTANT]
        skipped = isinstance(raw, dict) and plain.number(raw.get("weight")) == 0
        if spoke and before and not skipped:
            steps.append((before, (answer_of([raw]),)))
        before = (*before, *said)
    if not steps:
        raise InvalidInput("no assistant answers anything in it")
    meta = plain.mapping(value.get("metadata"))
    return _found(
        where,
        reading,
        id=foreign(SOURCE, _digest(value)),
        at=plain.moment(plain.first(value, "timestamp", "created", "created_at")) or reading.now,
        meta=meta,
        user=plain.name(value.get(USER)) or plain.name(meta.get("user_id")),
        model=plain.name(value.get(MODEL)) or "unknown",
        steps=steps,
        sampling=Sampling(),
        usage=Usage(),
        response=None,
    )


# -- our values ----------------------------------------------------------------------------------------------


def _found(
    where: str,
    reading: Reading,
    *,
    id: str,
    at: datetime,
    meta: Json,
    user: str | None,
    model: str,
    steps: Sequence[tuple[tuple[Message, ...], tuple[Answer, ...]]],
    sampling: Sampling,
    usage: Usage,
    response: str | None,
) -> Found:
    said = plain.name(plain.first(meta, "agent", "agent_name", "heedful_agent"))
    agent = AgentId(named(said or reading.agent or (model if model != "unknown" else "assistant"), "agent"))
    conversation = plain.name(plain.first(meta, *CONVERSATION))
    episode = EpisodeId(foreign(SOURCE, "session", conversation) if conversation else id)
    kept = {MODEL: model, **({RESPONSE: response} if response else {})}
    turns: list[Turn] = []
    for number, (request, answers) in enumerate(steps):
        own = TurnId(f"{id}/step-{number}" if number else id)
        parent = turns[-1] if turns else None
        for index, answer in enumerate(answers):
            turns.append(
                Turn(
                    id=TurnId(f"{own}/{index}") if index else own,
                    tenant=reading.tenant,
                    episode=episode,
                    agent=agent,
                    at=at + timedelta(microseconds=number),
                    request=request,
                    answer=answer.text,
                    policy=policy_id(agent, model),
                    index=index,
                    sibling_of=own if index else None,
                    tool_calls=answer.tool_calls,
                    addressee=None if answer.tool_calls else USER,
                    parent=None if parent is None else parent.sibling_of or parent.id,
                    finish=answer.finish,
                    sampling=sampling,
                    usage=usage,
                    purpose=Purpose.IMPORTED,
                    metadata=kept,
                )
            )
    told = {name: plain.as_text(value)[:LONGEST_VALUE] for name, value in list(meta.items())[:40]}
    made = Episode(
        id=episode,
        tenant=reading.tenant,
        started_at=at,
        user=None if user is None else PersonId(named(user, USER)),
        purpose=Purpose.IMPORTED,
        state=EpisodeState.DONE if reading.over else EpisodeState.OPEN,
        ended_at=turns[-1].at if reading.over else None,
        metadata={str(name)[:64]: value for name, value in told.items() if name and value},
    )
    return Found(episodes=(made,), turns=tuple(turns), places={one.id: where for one in turns})


def _digest(value: Any) -> str:
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"it cannot be written as JSON again: {error}") from error
    return hashlib.sha256(text).hexdigest()[:40]
