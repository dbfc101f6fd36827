"""Spans by OpenInference's conventions: `llm.*`, agents, sessions, and what people thought of them afterwards.

Feedback that comes after its span has ended rides on a new span, with exactly one link to what it is about:
that the two are parent and child says nothing. Feedback on a whole session names it in `session.id`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from heedful.domain.content import Answer, Sampling, Usage
from heedful.errors import InvalidInput
from heedful.feedback.formats import plain
from heedful.feedback.formats.found import RESPONSE
from heedful.feedback.formats.messages import answers_of, finish_of, messages_of
from heedful.feedback.formats.said import Opinion, Target
from heedful.feedback.formats.spans import Call, Seen, Span, heard

KIND = "openinference.span.kind"
EVALUATOR = "EVALUATOR"
SCOPES = ("", "trace.", "session.")
WORDS = (("annotations", "annotation"), ("evaluations", "evaluation"))
_HANDOFF = re.compile(r"hand-?off to (.+)", re.IGNORECASE)


def see(span: Span) -> Seen:
    said = span.attributes
    kind = (plain.text(said.get(KIND)) or "").upper()
    enacts = kind == "AGENT"
    own = plain.first(said, "agent.name", "gen_ai.agent.name")
    node = plain.first(said, "graph.node.name", "graph.node.id") if enacts else None
    agent = plain.name(own) or plain.name(node) or (plain.text(span.name) if enacts else None)
    return Seen(
        span=span,
        call=_call(span) if kind == "LLM" else None,
        agent=agent,
        enacts=enacts,
        session=plain.name(plain.first(said, "session.id", "gen_ai.conversation.id")),
        user=plain.name(said.get("user.id")),
        handoff=_handoff(span, agent if enacts else None),
        judges=kind == EVALUATOR,
        heard=heard(opinions(span)),
    )


def _handoff(span: Span, agent: str | None) -> tuple[str | None, str] | None:
    """An agent whose node in the graph has a parent was handed the work; or the tool that handed it says so."""
    before = plain.name(span.attributes.get("graph.node.parent_id"))
    if agent is not None and before is not None and before != agent:
        return before, agent
    named = _HANDOFF.fullmatch(span.name.strip())
    return (None, named[1]) if named else None


def _call(span: Span) -> Call:
    said = span.attributes
    request = [message_of(one) for one in plain.numbered(said, "llm.input_messages")]
    texts = [one.get("prompt.text") for one in plain.numbered(said, "llm.prompts")]
    prompts = [text for text in texts if isinstance(text, str)]
    given: Any = request or prompts or said.get("input.value")
    kept = {"provider": plain.first(said, "llm.provider", "llm.system"), RESPONSE: said.get(RESPONSE)}
    asked = "llm.invocation_parameters"
    return Call(
        model=plain.name(plain.first(said, "llm.model_name", "gen_ai.request.model")) or "unknown",
        request=messages_of(given),
        answers=_answers(span),
        sampling=_sampling(plain.mapping(said.get(asked)) or dict(plain.under(said, asked))),
        usage=Usage(
            prompt_tokens=plain.whole(said.get("llm.token_count.prompt")),
            answer_tokens=plain.whole(said.get("llm.token_count.completion")),
            spend=plain.number(said.get("llm.cost.total")),
        ),
        metadata={name: text for name, value in kept.items() if (text := plain.name(value))},
    )


def _answers(span: Span) -> tuple[Answer, ...]:
    said = span.attributes
    answers = [message_of(one) for one in plain.numbered(said, "llm.output_messages")]
    texts = [one.get("completion.text") for one in plain.numbered(said, "llm.choices")]
    choices = [text for text in texts if isinstance(text, str)]
    given: Any = answers or choices or said.get("output.value")
    finish = plain.first(said, "llm.finish_reason", "gen_ai.response.finish_reasons")
    finishes = finish if isinstance(finish, list) else [finish]
    if given is None:
        return (Answer(text="", finish=finish_of(finishes[0] if finishes else None, failed=span.failed)),)
    if not isinstance(given, list):  # whatever the instrumentation took for the output
        given = [given]
    return answers_of(given, finishes=finishes, failed=span.failed)


def message_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"message.role": …, "message.contents.0.message_content.text": …}` as OpenAI would have it."""
    own = dict(plain.under(flat, "message"))
    parts = [_part(dict(plain.under(one, "message_content"))) for one in plain.numbered(own, "contents")]
    calls = [dict(plain.under(one, "tool_call")) for one in plain.numbered(own, "tool_calls")]
    message: dict[str, Any] = {
        "role": own.get("role"),
        "content": own.get("content") if own.get("content") is not None else parts or None,
        "tool_call_id": own.get("tool_call_id"),
        "name": own.get("name"),
    }
    if calls:
        message["tool_calls"] = [
            {
                "id": one.get("id"),
                "name": one.get("function.name"),
                "arguments": one.get("function.arguments"),
            }
            for one in calls
        ]
    elif own.get("function_call_name"):
        arguments = own.get("function_call_arguments_json")
        message["function_call"] = {"name": own["function_call_name"], "arguments": arguments}
    return message


def _part(one: Mapping[str, Any]) -> dict[str, Any]:
    kind = plain.text(one.get("type")) or "text"
    return {"type": kind, "text": one.get("text"), "url": one.get("image.image.url")}


def _sampling(asked: Mapping[str, Any]) -> Sampling:
    stop = asked.get("stop")
    return Sampling(
        temperature=plain.number(asked.get("temperature")),
        top_p=plain.number(asked.get("top_p")),
        max_tokens=plain.whole(
            plain.first(asked, "max_completion_tokens", "max_output_tokens", "max_tokens")
        ),
        seed=plain.whole(asked.get("seed")),
        stop=(stop,)
        if isinstance(stop, str)
        else tuple(one for one in stop if isinstance(one, str))
        if isinstance(stop, list)
        else (),
    )


# -- what somebody thought of it -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    scope: str
    place: int
    word: str
    fields: Mapping[str, Any]


def opinions(span: Span) -> Iterator[Opinion]:
    """Annotations and evaluations that the span carries, of itself or of what it links to."""
    if not any("annotations." in name or "evaluations." in name for name in span.attributes):
        return
    if len(span.links) > 1:
        raise InvalidInput(
            f"it carries feedback and has {len(span.links)} links: exactly one says about what"
        )
    at = span.ended or span.began
    if at is None:
        raise InvalidInput("it carries feedback and has no time")
    for told in _told(span.attributes):
        fields = told.fields
        name, identifier = plain.text(fields.get("name")), plain.name(fields.get("identifier"))
        if name is None:
            raise InvalidInput(f"{told.word} {told.place} has no name")
        kind = plain.text(fields.get("annotator_kind"))
        yield Opinion(
            name=name,
            target=_target(span, told.scope),
            mark=identifier or f"{span.trace}/{span.id}/{told.scope}{told.word}-{told.place}",
            at=at,
            score=plain.number(fields.get("score")),
            label=plain.name(fields.get("label")),
            explanation=plain.text(fields.get("explanation")),
            kind=kind,
            by=identifier or (plain.name(span.attributes.get("user.id")) if kind == "HUMAN" else None),
            metadata=plain.mapping(fields.get("metadata")),
        )


def _told(said: Mapping[str, Any]) -> Iterator[_Told]:
    for scope in SCOPES:
        for many, one in WORDS:
            for place, flat in enumerate(plain.numbered(said, f"{scope}{many}")):
                fields = dict(plain.under(flat, one))
                if fields:
                    yield _Told(scope=scope, place=place, word=one, fields=fields)


def _target(span: Span, scope: str) -> Target:
    session = plain.name(plain.first(span.attributes, "session.id", "gen_ai.conversation.id"))
    link = span.links[0] if span.links else None
    if scope == "session.":
        if session is None and link is None:
            raise InvalidInput("feedback on a session names it in session.id")
        return Target(session=session, trace=link[0] if link else None)
    if scope == "trace.":
        return Target(trace=link[0] if link else span.trace)
    if link is not None:
        return Target(trace=link[0], span=link[1])
    response = plain.name(span.attributes.get(RESPONSE))
    evaluates = (plain.text(span.attributes.get(KIND)) or "").upper() == EVALUATOR
    if evaluates and session is not None and response is None:
        return Target(session=session)
    if evaluates and response is None:
        raise InvalidInput("an evaluator's span has exactly one link, to what it evaluated")
    return Target(response=response, trace=span.trace, span=span.id)
