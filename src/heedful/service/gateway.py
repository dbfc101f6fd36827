"""Stop 0: an agent asks as it would ask OpenAI, a policy answers, and the turn is kept before that leaves.

The model's name is the agent's. Which policy answers is computed from the release's salt and the unit's
name, so that every gateway decides alike; what was decided, and how likely it was, is kept with the turn.
The completion's id is the turn's id: whoever has the answer can say something about it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Address

from heedful import road
from heedful.access.caller import Caller
from heedful.access.permissions import Action, require
from heedful.domain.content import (
    AudioPart,
    ImagePart,
    Message,
    Part,
    Role,
    Sampling,
    TextPart,
    ToolCall,
    Usage,
)
from heedful.domain.episode import Allocation, Episode, Turn
from heedful.domain.ids import (
    AgentId,
    Digest,
    EpisodeId,
    PersonId,
    ProductId,
    TenantId,
    TurnId,
    check_id,
)
from heedful.domain.models import Policy
from heedful.domain.release import Release, Unit
from heedful.errors import Conflict, InvalidInput, NotFound, Unavailable
from heedful.inference.protocol import Answer
from heedful.release.allocate import allocate
from heedful.road import Parts
from heedful.service import body
from heedful.service.fleet import View
from heedful.service.routes import Service, reply
from heedful.wire import IN_HEADERS, ChatAudio, ChatImage, ChatMessage, ChatRefusal, ChatRequest, TurnContext

log = logging.getLogger("heedful.gateway")

Id = TypeVar("Id", bound=str)
REMEMBERED = 100_000  # episodes and turns that need not be looked up again


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """One request, understood."""

    tenant: TenantId
    agent: AgentId
    asked: ChatRequest
    context: TurnContext
    episode: EpisodeId
    messages: tuple[Message, ...]


class Gateway:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._parts: Parts = service.parts
        self._begun: Remembered[EpisodeId] = Remembered()
        self._turns: Remembered[TurnId] = Remembered()

    def addresses(self) -> list[Address]:
        return [
            Address(path, handler, methods=[method])
            for method, path, handler in (
                ("POST", "/v1/chat/completions", self.chat),
                ("POST", "/e/{episode}/a/{agent}/v1/chat/completions", self.chat),
                ("GET", "/v1/models", self.models),
                ("GET", "/v1/models/{id:path}", self.model),
            )
        ]

    # -- addresses ---------------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        caller = self._let_in(request)
        began = time.perf_counter()
        chat = await self._understood(request, caller)
        turns = await self._repeated(chat)
        if turns is None:
            view = await self._view(caller.tenant)
            allocation, policy = self._allocated(chat, view)
            sampling = _merged(policy.sampling, chat.asked.sampling())
            answers = await self._parts.inference.complete(
                policy, chat.messages, sampling=sampling, n=chat.asked.n or 1
            )
            latency = time.perf_counter() - began
            turns = await self._kept(
                chat, self._as_turns(chat, allocation, policy, sampling, answers, latency)
            )
        return _answered(chat.asked, turns)

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`: agents that have a policy."""
        caller = self._let_in(request)
        view = await self._view(caller.tenant)
        return reply({"object": "list", "data": [_model(view, agent) for agent in sorted(view.duties)]})

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`."""
        caller = self._let_in(request)
        view = await self._view(caller.tenant)
        agent = AgentId(check_id(request.path_params["id"], "model"))
        if agent not in view.duties:
            raise _no_such(agent, view)
        return reply(_model(view, agent))

    def _let_in(self, request: Request) -> Caller:
        request.state.route = "/v1/models" if request.method == "GET" else "/v1/chat/completions"
        caller: Caller = request.state.caller
        require(caller, Action.ANSWER)
        return caller

    # -- understanding -----------------------------------------------------------------------------------

    async def _understood(self, request: Request, caller: Caller) -> Chat:
        sent = await body.read(request)
        asked: ChatRequest = body.checked(ChatRequest, sent)
        context = _context(request, asked)
        agent = AgentId(check_id(request.path_params.get("agent", asked.model), "model"))
        if context.parent is not None:
            await self._must_exist(caller.tenant, TurnId(context.parent))
        return Chat(
            tenant=caller.tenant,
            agent=agent,
            asked=asked,
            context=context,
            episode=EpisodeId(context.episode or self._parts.mint("episode")),
            messages=tuple([await self._message(one, place) for place, one in enumerate(asked.messages)]),
        )

    async def _must_exist(self, tenant: TenantId, parent: TurnId) -> None:
        if (tenant, parent) in self._turns:
            return
        if await asyncio.to_thread(self._parts.store.get, Turn, tenant, parent) is None:
            raise NotFound(f"parent names turn {parent!r}, which is not known here", field="heedful.parent")
        self._turns.add(tenant, parent)

    async def _message(self, one: ChatMessage, place: int) -> Message:
        content: str | tuple[Part, ...] | None
        if isinstance(one.content, tuple):
            where = f"messages.{place}.content"
            content = tuple([await self._part(part, f"{where}.{n}") for n, part in enumerate(one.content)])
        else:
            content = one.content
        return Message(
            role=one.role,
            content=content,
            name=one.name,
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
                for call in one.tool_calls or ()
            ),
            tool_call_id=one.tool_call_id,
        )

    async def _part(self, part: Any, where: str) -> Part:
        """Pictures and recordings that came along are kept by their digest."""
        match part:
            case ChatImage(image_url=image) if image.url.startswith("data:"):
                head, _, data = image.url.partition(",")
                media_type = head.removeprefix("data:").partition(";")[0] or None
                return ImagePart(
                    digest=await self._bytes(data, f"{where}.image_url.url"), media_type=media_type
                )
            case ChatImage(image_url=image):
                return ImagePart(url=image.url)
            case ChatAudio(input_audio=audio):
                digest = await self._bytes(audio.data, f"{where}.input_audio.data")
                return AudioPart(digest=digest, media_type=f"audio/{audio.format}")
            case ChatRefusal(refusal=text):
                return TextPart(text=text)
            case _:
                return TextPart(text=part.text)

    async def _bytes(self, data: str, where: str) -> Digest:
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"{where} is not base64: {error}", field=where) from error
        return Digest(await asyncio.to_thread(self._parts.blobs.put_bytes, raw))

    # -- deciding ----------------------------------------------------------------------------------------

    async def _view(self, tenant: TenantId) -> View:
        fleet = self._service.fleet
        if fleet.view(tenant) is None:
            await asyncio.to_thread(fleet.refresh, tenant)
        view = fleet.view(tenant)
        assert view is not None
        return view

    def _allocated(self, chat: Chat, view: View) -> tuple[Allocation, Policy]:
        duty = view.duties.get(chat.agent)
        if duty is None:
            raise _no_such(chat.agent, view)
        allocation = allocate(duty.live, duty.release, _unit(chat, duty.release))
        policy = view.policies.get(allocation.policy)
        if policy is None:
            raise Unavailable(f"policy {allocation.policy!r} is released and not in the store")
        return allocation, policy

    # -- keeping -----------------------------------------------------------------------------------------

    def _as_turns(
        self,
        chat: Chat,
        allocation: Allocation,
        policy: Policy,
        sampling: Sampling,
        answers: Sequence[Answer],
        latency: float,
    ) -> list[Turn]:
        context = chat.context
        first = TurnId(context.turn or self._parts.mint("turn"))
        now = self._parts.clock.now()
        return [
            Turn(
                id=TurnId(f"{first}/{index}") if index else first,
                tenant=chat.tenant,
                episode=chat.episode,
                agent=chat.agent,
                at=now,
                request=chat.messages,
                answer=answer.text,
                policy=policy.id,
                index=index,
                sibling_of=first if index else None,
                tool_calls=answer.tool_calls,
                addressee=context.to,
                parent=None if context.parent is None else TurnId(context.parent),
                agent_instance=context.agent_instance,
                finish=answer.finish,
                tokens=answer.tokens,
                sampling=sampling,
                allocation=allocation,
                config=self._parts.config,
                latency=round(latency, 6),
                usage=Usage(
                    prompt_tokens=answer.prompt_tokens,
                    answer_tokens=len(answer.tokens.ids) if answer.tokens else None,
                ),
                view=context.view_to_domain(),
                world=None if context.world is None else context.world.to_domain(),
                metadata=_metadata(chat.asked),
            )
            for index, answer in enumerate(answers)
        ]

    async def _repeated(self, chat: Chat) -> list[Turn] | None:
        """The answer that was given before, when the caller's own turn id is here already."""
        if chat.context.turn is None:
            return None
        store, id = self._parts.store, chat.context.turn
        known = await asyncio.to_thread(store.get, Turn, chat.tenant, id)
        if known is None:
            return None
        if (known.agent, known.request) != (chat.agent, chat.messages):
            raise Conflict(f"turn {id!r} answered another request: use a new id", field="heedful.turn")
        others = await asyncio.to_thread(store.find, Turn, chat.tenant, where={"sibling_of": id})
        return [known, *sorted(others, key=lambda turn: turn.index)]

    async def _kept(self, chat: Chat, turns: list[Turn]) -> list[Turn]:
        """The turns as they are on disk, with their episode when they are its first."""
        begun = (chat.tenant, chat.episode) in self._begun
        try:
            await self._keep(turns, None if begun else self._episode(chat))
        except Conflict:
            # Either somebody else began the episode, or the caller sent the same turn twice at once.
            before = await self._repeated(chat)
            if before is not None:
                return before
            there = await asyncio.to_thread(self._parts.store.get, Episode, chat.tenant, chat.episode)
            if begun or there is None:
                raise
            await self._keep(turns, None)
        self._begun.add(chat.tenant, chat.episode)
        self._turns.add(chat.tenant, turns[0].id)
        arm = turns[0].allocation.arm if turns[0].allocation else "live"
        self._service.metrics.turns(chat.tenant, turns[0].policy, arm, len(turns))
        return turns

    async def _keep(self, turns: Sequence[Turn], episode: Episode | None) -> None:
        with self._service.metrics.waiting.track_inprogress():
            await asyncio.wrap_future(road.keep(self._parts, turns, episode=episode))

    def _episode(self, chat: Chat) -> Episode:
        context = chat.context
        user = context.user
        return Episode(
            id=chat.episode,
            tenant=chat.tenant,
            started_at=self._parts.clock.now(),
            product=None if context.product is None else ProductId(context.product),
            user=None if user is None else PersonId(user),
            segment=context.segment,
            language=context.language,
        )


class Remembered(Generic[Id]):
    """Ids that are known to be in the store; the oldest are forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[TenantId, Id], None] = OrderedDict()

    def __contains__(self, id: tuple[TenantId, Id]) -> bool:
        return id in self._known

    def add(self, tenant: TenantId, id: Id) -> None:
        self._known[tenant, id] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


# -- reading a request -----------------------------------------------------------------------------------


def _context(request: Request, asked: ChatRequest) -> TurnContext:
    """Headers before the body's `heedful`, that before the metadata; an address names its episode itself."""
    given: dict[str, Any] = {}
    where: dict[str, str] = {}
    for name in IN_HEADERS:
        header = f"x-heedful-{name.replace('_', '-')}"
        for place, value in (
            (header, request.headers.get(header)),
            (f"heedful.{name}", (asked.heedful or {}).get(name)),
            (f"metadata.heedful_{name}", (asked.metadata or {}).get(f"heedful_{name}")),
        ):
            if value is not None:
                given[name], where[name] = value, place
                break
    if "user" not in given and asked.user:
        given["user"], where["user"] = asked.user, "user"
    if "episode" in request.path_params:
        given["episode"], where["episode"] = request.path_params["episode"], "episode"
    rest = {name: value for name, value in (asked.heedful or {}).items() if name not in IN_HEADERS}
    try:
        checked: TurnContext = body.checked(TurnContext, {**rest, **given})
    except InvalidInput as error:
        first, _, inner = (error.field or "").partition(".")
        field = where.get(first, f"heedful.{first}") + (f".{inner}" if inner else "")
        raise InvalidInput(f"{field}: {str(error).partition(': ')[2]}", field=field) from None
    return checked


def _metadata(asked: ChatRequest) -> Mapping[str, str]:
    """The caller's own, as text."""
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in (asked.metadata or {}).items()
        if not name.startswith("heedful_")
    }


def _unit(chat: Chat, release: Release | None) -> str:
    """What is kept on one side of the release; the episode where nothing closer is known."""
    match release.unit if release else Unit.EPISODE:
        case Unit.USER:
            return chat.context.user or chat.episode
        case Unit.INSTANCE:
            return chat.context.agent_instance or chat.episode
        case _:
            return chat.episode


def _merged(usual: Sampling, asked: Sampling) -> Sampling:
    """How the policy answers, unless the request says otherwise."""
    return Sampling(
        temperature=usual.temperature if asked.temperature is None else asked.temperature,
        top_p=usual.top_p if asked.top_p is None else asked.top_p,
        max_tokens=usual.max_tokens if asked.max_tokens is None else asked.max_tokens,
        seed=usual.seed if asked.seed is None else asked.seed,
        stop=asked.stop or usual.stop,
        extra={**(usual.extra or {}), **(asked.extra or {})} or None,
    )


def _no_such(agent: AgentId, view: View) -> NotFound:
    known = ", ".join(sorted(view.duties)) or "none"
    return NotFound(f"model {agent!r} is no agent with a released policy: there is {known}", field="model")


# -- writing an answer -----------------------------------------------------------------------------------


def _answered(asked: ChatRequest, turns: Sequence[Turn]) -> Response:
    first = turns[0]
    headers = {
        "x-heedful-turn": first.id,
        "x-heedful-policy": first.policy,
        "x-heedful-episode": first.episode,
    }
    if asked.stream:
        return Response(_events(asked, turns), media_type="text/event-stream", headers=headers)
    whole = {
        **_frame(asked, first, "chat.completion"),
        "choices": [_choice(asked, turn) for turn in turns],
        "usage": _usage(turns),
    }
    return Response(orjson.dumps(whole), media_type="application/json", headers=headers)


def _frame(asked: ChatRequest, first: Turn, kind: str) -> dict[str, Any]:
    return {
        "id": first.id,
        "object": kind,
        "created": int(first.at.timestamp()),
        "model": asked.model,
        "system_fingerprint": first.config,
    }


def _choice(asked: ChatRequest, turn: Turn) -> dict[str, Any]:
    message: dict[str, Any] = {"role": Role.ASSISTANT, "content": _content(turn), "refusal": None}
    if turn.tool_calls:
        message["tool_calls"] = [_call(call) for call in turn.tool_calls]
    return {
        "index": turn.index,
        "message": message,
        "finish_reason": turn.finish,
        "logprobs": _logprobs(asked, turn),
        "turn": turn.id,
    }


def _content(turn: Turn) -> str | None:
    return None if turn.tool_calls and not turn.answer else turn.answer


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _logprobs(asked: ChatRequest, turn: Turn) -> dict[str, Any] | None:
    """By token id, as vLLM writes it: a token's own bytes may be half a character."""
    if not asked.logprobs or turn.tokens is None:
        return None
    pairs = zip(turn.tokens.ids, turn.tokens.logprobs, strict=True)
    return {
        "content": [
            {"token": f"token_id:{id}", "logprob": logprob, "bytes": None, "top_logprobs": []}
            for id, logprob in pairs
        ],
        "refusal": None,
    }


def _usage(turns: Sequence[Turn]) -> dict[str, int]:
    asked = turns[0].usage.prompt_tokens or 0
    said = sum(turn.usage.answer_tokens or 0 for turn in turns)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _events(asked: ChatRequest, turns: Sequence[Turn]) -> bytes:
    """The answer as a stream's events; it is whole already, because a turn is kept before it leaves."""
    frame = _frame(asked, turns[0], "chat.completion.chunk")
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage
    if with_usage:
        frame["usage"] = None

    def chunk(turn: Turn, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": turn.index, "delta": delta, "logprobs": None, "finish_reason": finish}
        choice["turn"] = turn.id
        return {**frame, "choices": [choice]}

    events: list[dict[str, Any]] = []
    for turn in turns:
        events.append(chunk(turn, {"role": Role.ASSISTANT, "content": ""}))
        if turn.answer:
            said = chunk(turn, {"content": turn.answer})
            said["choices"][0]["logprobs"] = _logprobs(asked, turn)
            events.append(said)
        if turn.tool_calls:
            calls = [{"index": place, **_call(call)} for place, call in enumerate(turn.tool_calls)]
            events.append(chunk(turn, {"tool_calls": calls}))
        events.append(chunk(turn, {}, turn.finish))
    if with_usage:
        events.append({**frame, "choices": [], "usage": _usage(turns)})
    lines = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    return b"".join(lines) + b"data: [DONE]\n\n"


def _model(view: View, agent: AgentId) -> dict[str, Any]:
    policy = view.policies.get(view.duties[agent].live)
    return {
        "id": agent,
        "object": "model",
        "created": int(policy.created_at.timestamp()) if policy else 0,
        "owned_by": "heedful",
    }
