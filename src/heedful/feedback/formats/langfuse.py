"""What Langfuse exports: traces, observations and scores, by its API's names or by its columns'.

A generation is a call of a model, an observation of type AGENT is an agent at work, a session is a conversation.
Scores are feedback. Those of a scale that is not 0 to 1 need `--scale`: an export does not say it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from heedful.domain.content import Sampling, Usage
from heedful.errors import InvalidInput
from heedful.feedback.formats import plain
from heedful.feedback.formats.found import Found, Names, Problem, Reading
from heedful.feedback.formats.items import Item, gathered
from heedful.feedback.formats.messages import answer_of, answers_of, messages_of
from heedful.feedback.formats.said import HUMAN, Opinion, Target
from heedful.feedback.formats.spans import Call, Seen, Span, heard
from heedful.feedback.formats.weave import woven

NAMES = Names(source="langfuse")
DEEPEST = 4  # a page of traces with observations in them is 2
ROOT = "trace"  # the span that stands for the trace itself
KINDS: Mapping[str, str | None] = {"ANNOTATION": HUMAN, "EVAL": "LLM"}
Record = Mapping[str, Any]


def read(items: Iterable[Item], reading: Reading) -> Iterator[Found]:
    problems: list[Problem] = []
    for spans in gathered(_spans(items, problems)):
        yield woven(spans, see, NAMES, reading)
    if problems:
        yield Found(problems=tuple(problems))


def see(span: Span) -> Seen:
    said = span.attributes
    what = said.get("is")
    kind = (plain.text(said.get("type")) or "").upper()
    enacts = kind == "AGENT"
    return Seen(
        span=span,
        call=_call(span) if what == "observation" and kind == "GENERATION" else None,
        agent=plain.name(span.name) if enacts else None,
        enacts=enacts,
        session=None if what == "score" else plain.name(said.get("sessionId")),
        user=None if what == "score" else plain.name(said.get("userId")),
        task=plain.text(said.get("name" if what == "trace" else "traceName")) if what != "score" else None,
        judges=kind == "EVALUATOR",
        heard=heard(_opinion(span)) if what == "score" else heard(),
    )


# -- records -> spans ----------------------------------------------------------------------------------------


def _spans(items: Iterable[Item], problems: list[Problem]) -> Iterator[tuple[Span, int]]:
    for item in items:
        try:
            found = list(_records(item.value))
            for what, record in found:
                yield _span(what, record, item.where), item.size // len(found)
        except InvalidInput as error:
            problems.append(Problem(where=item.where, reason=str(error)))


def _records(value: Any, depth: int = 0) -> Iterator[tuple[str, Record]]:
    """Each trace, observation and score in it, told apart by what it has."""
    if not isinstance(value, dict):
        raise InvalidInput("it is no object")
    if depth > DEEPEST:
        raise InvalidInput(f"its records lie more than {DEEPEST} levels deep")
    record = _camel(value)
    if isinstance(record.get("trace"), dict):  # as the console saves one trace
        record = {**_camel(record["trace"]), **{name: one for name, one in record.items() if name != "trace"}}
    inside = [
        name for name in ("data", "traces", "observations", "scores") if isinstance(record.get(name), list)
    ]
    own = {name: one for name, one in record.items() if name not in inside}
    if _is_score(own):
        yield "score", own
    elif own.get("id") is not None and own.get("traceId") is None and "type" not in own:
        yield "trace", own
    elif own.get("traceId") is not None and own.get("id") is not None:
        yield "observation", own
    elif not inside:
        raise InvalidInput(
            "it is no trace, observation or score: those have an id, and the last two a traceId"
        )
    for name in inside:
        for one in record[name]:
            if isinstance(one, dict):
                lent = {"traceId": own["id"]} if own.get("id") and name != "data" else {}
                yield from _records({**lent, **_camel(one)}, depth + 1)


def _is_score(record: Record) -> bool:
    about = plain.first(record, "traceId", "observationId", "sessionId") is not None
    return (
        about and ("stringValue" in record or "value" in record) and "name" in record and "type" not in record
    )


def _span(what: str, record: Record, where: str) -> Span:
    id = plain.name(record.get("id"))
    if id is None:
        raise InvalidInput(f"the {what} has no id")
    trace = id if what == "trace" else plain.name(record.get("traceId"))
    if what == "score":
        # A score may be known by one id on several targets.
        id, trace = f"score {id}", trace or f"session {record.get('sessionId')}"
    if trace is None:
        raise InvalidInput(f"the {what} {id!r} names no trace")
    began = plain.moment(plain.first(record, "startTime", "timestamp", "createdAt"))
    return Span(
        trace=trace,
        id=ROOT if what == "trace" else id,
        name=plain.text(record.get("name")) or "",
        where=where,
        parent=None if what == "trace" else plain.name(record.get("parentObservationId")) or ROOT,
        began=began,
        ended=plain.moment(plain.first(record, "endTime", "updatedAt" if what == "score" else "endTime"))
        or began,
        attributes={**record, "is": what},
        failed=record.get("level") == "ERROR",
    )


def _camel(record: Record) -> dict[str, Any]:
    """Columns are named `trace_id`, the API's fields `traceId`."""
    return {_camelled(str(name)): value for name, value in record.items()}


def _camelled(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one[:1].upper() + one[1:] for one in rest)


# -- what they say -------------------------------------------------------------------------------------------


def _call(span: Span) -> Call:
    said = span.attributes
    usage = plain.mapping(said.get("usageDetails")) or plain.mapping(said.get("usage"))
    cost = plain.mapping(said.get("costDetails"))
    asked = plain.mapping(said.get("modelParameters"))
    output = _value(said.get("output"))
    if isinstance(output, dict) and isinstance(output.get("choices"), list):
        picks = [one for one in output["choices"] if isinstance(one, dict)]
        answers = tuple(
            answer_of(one.get("message"), finish=one.get("finish_reason"), failed=span.failed)
            for one in picks
        )
    elif isinstance(output, list):
        answers = (answer_of(output, failed=span.failed),)
    else:
        answers = answers_of(output, failed=span.failed)
    return Call(
        model=plain.name(plain.first(said, "model", "providedModelName", "internalModelId")) or "unknown",
        request=messages_of(_asked(_value(said.get("input")))),
        answers=answers or (answer_of(None, failed=span.failed),),
        sampling=Sampling(
            temperature=plain.number(asked.get("temperature")),
            top_p=plain.number(plain.first(asked, "top_p", "topP")),
            max_tokens=plain.whole(plain.first(asked, "max_tokens", "max_completion_tokens", "maxTokens")),
            seed=plain.whole(asked.get("seed")),
        ),
        usage=Usage(
            prompt_tokens=plain.whole(plain.first(usage, "input", "promptTokens", "prompt_tokens")),
            answer_tokens=plain.whole(plain.first(usage, "output", "completionTokens", "completion_tokens")),
            spend=plain.number(plain.first(said, "calculatedTotalCost", "totalCost") or cost.get("total")),
        ),
    )


def _value(given: Any) -> Any:
    """A column holds JSON, also where that is one text."""
    if isinstance(given, str) and given[:1] == given[-1:] == '"':
        try:
            return orjson.loads(given)
        except orjson.JSONDecodeError:
            return given
    return plain.parsed(given)


def _asked(given: Any) -> Any:
    """A request may be wrapped in what else was asked for."""
    if isinstance(given, dict) and "role" not in given and "messages" not in given:
        inner = plain.first(given, "prompt", "input", "query", "question")
        return plain.as_text(given) if inner is None else plain.parsed(inner)
    return given


def _opinion(span: Span) -> Iterator[Opinion]:
    said = span.attributes
    name, at = plain.text(said.get("name")), _when(span)
    if name is None:
        raise InvalidInput("the score has no name")
    kind = (plain.text(said.get("dataType")) or "").upper()
    value = said.get("value")
    label = plain.text(said.get("stringValue")) or (plain.text(value) if isinstance(value, str) else None)
    observation = plain.name(said.get("observationId"))
    session = plain.name(said.get("sessionId"))
    yield Opinion(
        name=name,
        target=Target(trace=plain.name(said.get("traceId")), span=observation, session=session),
        mark=plain.name(said.get("id")) or span.id,
        at=at,
        score=None if kind in ("CATEGORICAL", "CORRECTION", "TEXT") else plain.number(value),
        label=None if kind in ("BOOLEAN", "TEXT") else label,
        explanation=plain.text(said.get("comment")) or (label if kind == "TEXT" else None),
        kind=KINDS.get(str(said.get("source")).upper()),
        by=plain.name(said.get("authorUserId")),
        form={"CORRECTION": "correction", "BOOLEAN": "boolean"}.get(kind),
        metadata=plain.mapping(said.get("metadata")),
    )


def _when(span: Span) -> datetime:
    if span.began is None:
        raise InvalidInput("the score has no time")
    return span.began
