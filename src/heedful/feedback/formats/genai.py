"""Spans by OpenTelemetry's conventions for generative AI, today's and those up to version 1.36 -> our values.

`read` is the way in for everything that came as OTLP: a span that says it is OpenInference's is read by that
convention, every other by this one, so that one trace may hold both. The older dialect is still what many
instrumentations send: `gen_ai.system`, `gen_ai.prompt.0.content`, `usage.prompt_tokens`, content in events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from heedful.domain.content import Answer, Message, Role, Sampling, Usage
from heedful.domain.episode import Turn
from heedful.domain.ids import EpisodeId
from heedful.errors import InvalidInput
from heedful.feedback.formats import openinference, plain
from heedful.feedback.formats.found import RESPONSE, Found, Names, Reading
from heedful.feedback.formats.messages import answers_of, finish_of, messages_of
from heedful.feedback.formats.said import Opinion, Target
from heedful.feedback.formats.spans import Call, Event, Seen, Span, heard
from heedful.feedback.formats.weave import woven

NAMES = Names(source="otlp")
CALLS = frozenset({"chat", "text_completion", "generate_content", "completion", "responses", "message"})
AGENTS = frozenset({"invoke_agent", "create_agent"})
EVALUATION = "gen_ai.evaluation.result"
HANDOFF = ("gen_ai.handoff.from_agent", "gen_ai.handoff.to_agent")

# By our name, today's first, then as it was called before.
MODEL = ("gen_ai.response.model", "gen_ai.request.model", "llm.request.model")
PROVIDER = ("gen_ai.provider.name", "gen_ai.system")
SESSION = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
USER = ("user.id", "enduser.pseudo.id", "enduser.id", "traceloop.association.properties.user_id")
TASK = ("gen_ai.workflow.name", "traceloop.workflow.name")
PROMPT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
ANSWER_TOKENS = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.usage.completion_tokens",
)
SPEND = ("gen_ai.usage.cost", "gen_ai.usage.total_cost", "gen_ai.cost.total_cost")
# An event of the older dialect is one message of this role.
MESSAGES: Mapping[str, Role] = {
    "gen_ai.system.message": Role.SYSTEM,
    "gen_ai.user.message": Role.USER,
    "gen_ai.assistant.message": Role.ASSISTANT,
    "gen_ai.tool.message": Role.TOOL,
}


def read(spans: Sequence[Span], reading: Reading, *, before: Iterable[Turn] = ()) -> Found:
    """Everything that these spans tell. Spans that are no calls of a model only say where those belong."""
    return woven(spans, see, NAMES, reading, before=before)


def homes(spans: Iterable[Span]) -> list[EpisodeId]:
    """The episodes in which turns of these traces may be on record."""
    found = {NAMES.episode(span.trace, plain.name(plain.first(span.attributes, *SESSION))) for span in spans}
    return sorted(found | {NAMES.episode(span.trace, None) for span in spans})


def see(span: Span) -> Seen:
    """One span, by the convention that it follows."""
    if openinference.KIND in span.attributes:
        return openinference.see(span)
    said = span.attributes
    operation = plain.text(said.get("gen_ai.operation.name")) or ""
    giver, taker = (plain.name(said.get(name)) for name in HANDOFF)
    enacts = operation in AGENTS
    agent = plain.name(plain.first(said, "gen_ai.agent.name", "gen_ai.agent.id", "agent.name"))
    return Seen(
        span=span,
        call=_call(span) if _is_call(said, operation) else None,
        agent=agent or (span.name.removeprefix(operation).strip() or None if enacts else None),
        enacts=enacts,
        session=plain.name(plain.first(said, *SESSION)),
        user=plain.name(plain.first(said, *USER)),
        task=plain.name(plain.first(said, *TASK)),
        handoff=(giver, taker) if taker else None,
        heard=heard(openinference.opinions(span), evaluations(span)),
    )


def _is_call(said: Mapping[str, Any], operation: str) -> bool:
    if operation:
        return operation in CALLS
    if said.get("llm.request.type") in ("chat", "completion"):
        return True
    told = any(name.startswith(("gen_ai.prompt", "gen_ai.completion")) for name in said)
    return told and plain.first(said, *MODEL, *PROVIDER) is not None


def _call(span: Span) -> Call:
    said = span.attributes
    failed = span.failed or said.get("error.type") is not None
    kept = {"provider": plain.first(said, *PROVIDER), RESPONSE: said.get(RESPONSE)}
    return Call(
        model=plain.name(plain.first(said, *MODEL)) or "unknown",
        request=tuple(_request(span)),
        answers=_answers(span, failed) or (Answer(text="", finish=finish_of(None, failed=failed)),),
        sampling=_sampling(said),
        usage=Usage(
            prompt_tokens=plain.whole(plain.first(said, *PROMPT_TOKENS)),
            answer_tokens=plain.whole(plain.first(said, *ANSWER_TOKENS)),
            spend=plain.number(plain.first(said, *SPEND)),
        ),
        metadata={name: text for name, value in kept.items() if (text := plain.name(value))},
    )


def _request(span: Span) -> Iterator[Message]:
    """From whichever place the content was captured in; the newest convention first."""
    for said in _details(span):
        if said.get("gen_ai.input.messages") is not None:
            yield from messages_of(said.get("gen_ai.system_instructions"), role=Role.SYSTEM)
            yield from messages_of(said["gen_ai.input.messages"])
            return
    if numbered := plain.numbered(span.attributes, "gen_ai.prompt"):
        for one in numbered:
            yield from messages_of([_older(one)])
        return
    if (text := plain.first(span.attributes, "gen_ai.prompt")) is not None:
        yield from messages_of(text)
        return
    for event in span.events:
        if event.name == "gen_ai.content.prompt":
            yield from messages_of(event.attributes.get("gen_ai.prompt"))
        elif event.name in MESSAGES:
            yield from messages_of([_evented(event, MESSAGES[event.name])])


def _answers(span: Span, failed: bool) -> tuple[Answer, ...]:
    finishes = span.attributes.get("gen_ai.response.finish_reasons")
    finishes = finishes if isinstance(finishes, list) else [finishes]
    for said in _details(span):
        if said.get("gen_ai.output.messages") is not None:
            return answers_of(said["gen_ai.output.messages"], finishes=finishes, failed=failed)
    if numbered := plain.numbered(span.attributes, "gen_ai.completion"):
        return answers_of([_older(one) for one in numbered], finishes=finishes, failed=failed)
    if (text := plain.first(span.attributes, "gen_ai.completion")) is not None:
        return answers_of(text, finishes=finishes, failed=failed)
    said_in = [
        plain.parsed(event.attributes.get("gen_ai.completion"))
        for event in span.events
        if event.name == "gen_ai.content.completion"
    ]
    choices = [_choice(event) for event in span.events if event.name == "gen_ai.choice"]
    whole = [one for value in said_in for one in (value if isinstance(value, list) else [value])]
    return answers_of([*whole, *choices], finishes=finishes, failed=failed) if whole or choices else ()


def _details(span: Span) -> Iterator[Mapping[str, Any]]:
    """Where today's convention keeps the content: on the span, or in an event of it."""
    yield span.attributes
    for event in span.events:
        if event.name == "gen_ai.client.inference.operation.details":
            yield event.attributes


def _older(one: Mapping[str, Any]) -> dict[str, Any]:
    """`{"role": …, "tool_calls.0.name": …}`."""
    calls = plain.numbered(one, "tool_calls")
    return {
        **{name: one[name] for name in one if "." not in name},
        **({"tool_calls": calls} if calls else {}),
    }


def _evented(event: Event, role: Role) -> dict[str, Any]:
    said = event.attributes
    calls = plain.parsed(said.get("tool_calls"))
    return {
        "role": plain.text(said.get("role")) or role,
        "content": said.get("content"),
        "tool_call_id": plain.first(said, "id", "tool_call_id"),
        **({"tool_calls": calls} if isinstance(calls, list) else {}),
    }


def _choice(event: Event) -> dict[str, Any]:
    inner = plain.mapping(event.attributes.get("message"))
    finish = event.attributes.get("finish_reason")
    if not inner and isinstance(event.attributes.get("message"), str):
        inner = {"content": event.attributes["message"]}
    return {**_evented(event, Role.ASSISTANT), **inner, "role": Role.ASSISTANT, "finish_reason": finish}


def _sampling(said: Mapping[str, Any]) -> Sampling:
    stop = said.get("gen_ai.request.stop_sequences")
    return Sampling(
        temperature=plain.number(said.get("gen_ai.request.temperature")),
        top_p=plain.number(said.get("gen_ai.request.top_p")),
        max_tokens=plain.whole(said.get("gen_ai.request.max_tokens")),
        seed=plain.whole(plain.first(said, "gen_ai.request.seed", "gen_ai.openai.request.seed")),
        stop=tuple(one for one in stop if isinstance(one, str)) if isinstance(stop, list) else (),
    )


# -- what somebody thought of it -----------------------------------------------------------------------------


def evaluations(span: Span) -> Iterator[Opinion]:
    """`gen_ai.evaluation.result` events: about the answer that they name, or the span that they are on."""
    for place, event in enumerate(span.events):
        if event.name != EVALUATION:
            continue
        said = event.attributes
        response = plain.name(plain.first(said, RESPONSE))
        at = event.at or span.ended or span.began
        name = plain.text(said.get("gen_ai.evaluation.name"))
        if name is None or at is None:
            raise InvalidInput(f"its event {EVALUATION} has no name, or no time")
        identifier = plain.name(plain.first(said, "gen_ai.evaluation.identifier", "identifier"))
        yield Opinion(
            name=name,
            target=Target(response=response, trace=span.trace, span=span.id),
            mark=identifier or f"{span.trace}/{span.id}/event-{place}",
            at=at,
            score=plain.number(said.get("gen_ai.evaluation.score.value")),
            label=plain.text(said.get("gen_ai.evaluation.score.label")),
            explanation=plain.text(said.get("gen_ai.evaluation.explanation")),
            kind=plain.text(plain.first(said, "gen_ai.evaluation.annotator_kind", "annotator_kind")),
            by=identifier,
            metadata=plain.mapping(said.get("metadata")),
        )
