"""What Phoenix exports: spans with nested or flattened attributes, from its API or a data frame, and annotations.

Phoenix keeps OpenInference's attributes, so that its spans are read as those are. An annotation names its span
without the trace: a span's id is unique in Phoenix, and so in the ids that we give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from heedful.errors import InvalidInput
from heedful.feedback.formats import genai, openinference, plain
from heedful.feedback.formats.found import Found, Names, Problem, Reading
from heedful.feedback.formats.items import Item, gathered
from heedful.feedback.formats.said import Opinion, Target
from heedful.feedback.formats.spans import Event, Heard, Seen, Span, heard
from heedful.feedback.formats.weave import woven

NAMES = Names(source="phoenix", alone=True)
DEEPEST = 4  # a page of traces with spans in them is 2
ANNOTATED = "phoenix.annotations"  # under which a span carries those that came with it
Record = Mapping[str, Any]


def read(items: Iterable[Item], reading: Reading) -> Iterator[Found]:
    problems: list[Problem] = []
    for spans in gathered(_spans(items, problems)):
        yield woven(spans, see, NAMES, reading)
    if problems:
        yield Found(problems=tuple(problems))


def see(span: Span) -> Seen:
    annotations = span.attributes.get(ANNOTATED)
    said = heard(*(_opinion(one, span) for one in annotations or ()))
    seen = genai.see(span)
    return Seen(
        span=span,
        call=seen.call,
        agent=seen.agent,
        enacts=seen.enacts,
        session=seen.session,
        user=seen.user,
        task=seen.task,
        handoff=seen.handoff,
        judges=seen.judges,
        heard=Heard(
            (*seen.heard.opinions, *said.opinions),
            (*seen.heard.troubles, *said.troubles),
        ),
    )


def _spans(items: Iterable[Item], problems: list[Problem]) -> Iterator[tuple[Span, int]]:
    for item in items:
        try:
            records = list(_records(item.value))
            for place, record in enumerate(records):
                yield _span(record, item.where, place), item.size // len(records)
        except InvalidInput as error:
            problems.append(Problem(where=item.where, reason=str(error)))


def _records(value: Any, depth: int = 0) -> Iterator[Record]:
    if not isinstance(value, dict) or depth > DEEPEST:
        raise InvalidInput("it is no object, or one that lies too deep")
    inside = [name for name in ("data", "spans", "traces") if isinstance(value.get(name), list)]
    if not inside:
        yield value
    for name in inside:
        for one in value[name]:
            yield from _records(one, depth + 1)


def _span(record: Record, where: str, place: int) -> Span:
    if "annotator_kind" in record and "start_time" not in record:
        return Span(trace="", id=f"{where}/{place}", name="", where=where, attributes={ANNOTATED: [record]})
    events, annotations = record.get("events"), plain.first(record, "annotations", "span_annotations")
    beside = ("events", "annotations", "span_annotations")
    flat = plain.flat({name: value for name, value in record.items() if name not in beside})
    id = plain.name(plain.first(flat, "context.span_id", "span_id", "id"))
    trace = plain.name(plain.first(flat, "context.trace_id", "trace_id"))
    if id is None or trace is None:
        raise InvalidInput("it is no span and no annotation: a span has a context with trace_id and span_id")
    attributes = dict(plain.under(flat, "attributes")) or flat
    kind = plain.text(flat.get("span_kind"))
    if kind is not None:
        attributes.setdefault(openinference.KIND, kind)
    if isinstance(annotations, list):
        attributes[ANNOTATED] = [one for one in annotations if isinstance(one, dict)]
    return Span(
        trace=trace,
        id=id,
        name=plain.text(record.get("name")) or "",
        where=where,
        parent=plain.name(record.get("parent_id")),
        began=plain.moment(record.get("start_time")),
        ended=plain.moment(record.get("end_time")),
        attributes=attributes,
        events=tuple(_events(plain.parsed(events))),
        failed=flat.get("status_code") == "ERROR",
    )


def _events(events: Any) -> Iterator[Event]:
    for one in events if isinstance(events, list) else ():
        if isinstance(one, dict):
            attributes = one.get("attributes")
            yield Event(
                name=plain.text(one.get("name")) or "",
                at=plain.moment(one.get("timestamp")),
                attributes=plain.flat(attributes) if isinstance(attributes, dict) else {},
            )


def _opinion(record: Record, span: Span) -> Iterator[Opinion]:
    result = plain.mapping(record.get("result")) or record
    name = plain.text(plain.first(record, "name", "annotation_name"))
    at = plain.moment(plain.first(record, "updated_at", "created_at")) or span.ended
    if name is None or at is None:
        raise InvalidInput("an annotation has a name, and a time when it was made (created_at)")
    identifier = plain.name(plain.first(record, "identifier"))
    kind = plain.text(record.get("annotator_kind"))
    yield Opinion(
        name=name,
        target=_target(record, span),
        mark=identifier or plain.name(record.get("id")) or at.isoformat(),
        at=at,
        score=plain.number(result.get("score")),
        label=plain.name(result.get("label")),
        explanation=plain.text(result.get("explanation")),
        kind=kind,
        by=plain.name(plain.first(record, "user_id")) or identifier,
        metadata=plain.mapping(record.get("metadata")),
    )


def _target(record: Record, span: Span) -> Target:
    id = plain.name(plain.first(record, "span_id", "context.span_id"))
    if id is not None or span.trace:
        return Target(span=id or span.id, trace=span.trace or None)
    trace, session = plain.name(record.get("trace_id")), plain.name(record.get("session_id"))
    if trace is None and session is None:
        raise InvalidInput("an annotation names its span_id, trace_id or session_id")
    return Target(trace=trace, session=session)
