"""OTLP, as OpenTelemetry's exporters send it: JSON or protobuf -> plain spans.

JSON works with what is installed anyway. Protobuf needs the package `opentelemetry-proto` (extra `otel`), which
is imported when the first such body comes. A span that cannot be read is a problem of its own; a body that is no
OTLP at all is refused whole.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from heedful.errors import InvalidInput, Malformed, Misconfigured
from heedful.feedback.formats import plain
from heedful.feedback.formats.found import Problem
from heedful.feedback.formats.spans import Event, Span

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEEPEST = 32  # lists and objects within one another, in one attribute
FAILED = frozenset({2, "2", "STATUS_CODE_ERROR"})
Read = tuple[list[Span], list[Problem]]


def of_json_bytes(body: bytes) -> Read:
    """From an ExportTraceServiceRequest in JSON."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}", field="body") from error
    return of_json(said)


def of_json(said: Any) -> Read:
    """The same, read already."""
    if not isinstance(said, dict) or not isinstance(said.get("resourceSpans", []), list):
        raise InvalidInput("an OTLP request is an object with a list resourceSpans", field="resourceSpans")
    return _collected(_json_spans(said))


def of_protobuf(body: bytes) -> Read:
    """From an ExportTraceServiceRequest in protobuf."""
    request = _proto().ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except Exception as error:  # a DecodeError, whose home differs between the versions of protobuf
        raise Malformed(f"the body is not an ExportTraceServiceRequest: {error}", field="body") from error
    return _collected(_proto_spans(request))


def answer(*, protobuf: bool, rejected: int, why: str) -> bytes:
    """An ExportTraceServiceResponse. A partial success with nothing rejected and a message is a warning."""
    if not protobuf:
        partial = {"rejectedSpans": str(rejected), "errorMessage": why}
        return orjson.dumps({"partialSuccess": partial} if rejected or why else {})
    response = _proto().ExportTraceServiceResponse()
    if rejected or why:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = why
    encoded: bytes = response.SerializeToString()
    return encoded


def _proto() -> Any:
    try:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    except ImportError as error:
        missing = Misconfigured(
            "OTLP in protobuf needs the package opentelemetry-proto here: install heedful[otel], or send "
            "application/json (OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json)"
        )
        missing.status = 415
        raise missing from error
    return trace_service_pb2


def _collected(spans: Iterator[Span | Problem]) -> Read:
    good: list[Span] = []
    bad: list[Problem] = []
    for one in spans:
        if isinstance(one, Span):
            good.append(one)
        else:
            bad.append(one)
    return good, bad


# -- JSON ----------------------------------------------------------------------------------------------------


def _json_spans(said: dict[str, Any]) -> Iterator[Span | Problem]:
    for place, group in enumerate(said.get("resourceSpans") or ()):
        try:
            service = _service(_json_attributes(_inside(group, "resource").get("attributes")))
            scopes = _objects(_object(group), "scopeSpans")
        except InvalidInput as error:
            yield Problem(where=f"resourceSpans.{place}", reason=str(error))
            continue
        for inner, scope in enumerate(scopes):
            spans = scope.get("spans") if isinstance(scope, dict) else None
            if not isinstance(spans, list):
                if spans is not None or not isinstance(scope, dict):
                    yield Problem(where=f"resourceSpans.{place}.scopeSpans.{inner}", reason="spans is a list")
                continue
            for number, raw in enumerate(spans):
                where = f"resourceSpans.{place}.scopeSpans.{inner}.spans.{number}"
                try:
                    yield _json_span(_object(raw), service, where)
                except InvalidInput as error:
                    yield Problem(where=where, reason=str(error))


def _json_span(raw: dict[str, Any], service: str | None, where: str) -> Span:
    id = _hex(raw.get("spanId"), "spanId")
    return Span(
        trace=_hex(raw.get("traceId"), "traceId"),
        id=id,
        name=plain.text(raw.get("name")) or "",
        where=f"span {id}",
        parent=plain.text(raw.get("parentSpanId")),
        began=_moment(raw.get("startTimeUnixNano")),
        ended=_moment(raw.get("endTimeUnixNano")),
        attributes=_json_attributes(raw.get("attributes")),
        events=tuple(
            Event(
                name=plain.text(event.get("name")) or "",
                at=_moment(event.get("timeUnixNano")),
                attributes=_json_attributes(event.get("attributes")),
            )
            for event in map(_object, _objects(raw, "events"))
        ),
        links=tuple(
            (_hex(link.get("traceId"), "links.traceId"), _hex(link.get("spanId"), "links.spanId"))
            for link in map(_object, _objects(raw, "links"))
        ),
        failed=_failed(raw.get("status")),
        service=service,
    )


def _failed(status: Any) -> bool:
    code = status.get("code") if isinstance(status, dict) else None
    return isinstance(code, int | str) and code in FAILED


def _json_attributes(pairs: Any) -> dict[str, Any]:
    if pairs is None:
        return {}
    if not isinstance(pairs, list):
        raise InvalidInput("attributes is a list of key and value")
    found = {}
    for pair in pairs:
        if not isinstance(pair, dict) or not isinstance(pair.get("key"), str):
            raise InvalidInput("an attribute has a key, and a value")
        found[plain.clean(pair["key"])] = _json_value(pair.get("value"), DEEPEST)
    return found


def _json_value(value: Any, left: int) -> Any:
    if not isinstance(value, dict):
        return None
    if left == 0:
        raise InvalidInput(f"an attribute is nested more than {DEEPEST} levels deep")
    for kind, read in JSON_VALUES.items():
        if kind in value:
            return read(value[kind], left - 1)
    return None


def _json_array(value: Any, left: int) -> Any:
    return [_json_value(one, left) for one in _objects(_object(value), "values")]


def _json_object(value: Any, left: int) -> Any:
    found = {}
    for pair in map(_object, _objects(_object(value), "values")):
        found[plain.clean(str(pair.get("key")))] = _json_value(pair.get("value"), left)
    return found


def _json_integer(value: Any, left: int) -> Any:
    """64 bits are text in protobuf's JSON."""
    return value if isinstance(value, int) and not isinstance(value, bool) else _int(value)


def _int(value: Any) -> int | None:
    try:
        return int(value) if isinstance(value, str) and len(value) <= 20 else None
    except ValueError:
        return None


JSON_VALUES: dict[str, Any] = {
    "stringValue": lambda value, left: plain.clean(value) if isinstance(value, str) else None,
    "boolValue": lambda value, left: value if isinstance(value, bool) else None,
    "intValue": _json_integer,
    "doubleValue": lambda value, left: plain.number(value),
    "arrayValue": _json_array,
    "kvlistValue": _json_object,
    "bytesValue": lambda value, left: value if isinstance(value, str) else None,
}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{str(value)[:60]!r} stands where an object is expected")
    return value


def _inside(value: Any, key: str) -> dict[str, Any]:
    inner = _object(value).get(key)
    return {} if inner is None else _object(inner)


def _objects(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise InvalidInput(f"{key} is a list")
    return found


def _hex(value: Any, name: str) -> str:
    """An id; one of zeroes is none."""
    if not isinstance(value, str) or not value.strip("0 ") or len(value) > 128:
        raise InvalidInput(f"{name} is {str(value)[:40]!r}: a span and its trace have an id")
    return plain.clean(value.lower() if len(value) in (16, 32) else value)


def _moment(nanoseconds: Any) -> datetime | None:
    count = nanoseconds if isinstance(nanoseconds, int) else _int(nanoseconds)
    if not count or count < 0:
        return None
    try:
        return EPOCH + timedelta(microseconds=count // 1000)
    except OverflowError:
        return None


def _service(attributes: dict[str, Any]) -> str | None:
    found = plain.text(attributes.get("service.name"))
    return None if found is None or found.startswith("unknown_service") else found


# -- protobuf ------------------------------------------------------------------------------------------------


def _proto_spans(request: Any) -> Iterator[Span | Problem]:
    for group in request.resource_spans:
        service = _service(_proto_attributes(group.resource.attributes))
        for scope in group.scope_spans:
            for number, raw in enumerate(scope.spans):
                try:
                    yield _proto_span(raw, service)
                except InvalidInput as error:
                    yield Problem(where=f"span {raw.span_id.hex() or number}", reason=str(error))


def _proto_span(raw: Any, service: str | None) -> Span:
    id = _hex(raw.span_id.hex(), "span_id")
    return Span(
        trace=_hex(raw.trace_id.hex(), "trace_id"),
        id=id,
        name=plain.clean(raw.name),
        where=f"span {id}",
        parent=raw.parent_span_id.hex() or None,
        began=_moment(raw.start_time_unix_nano),
        ended=_moment(raw.end_time_unix_nano),
        attributes=_proto_attributes(raw.attributes),
        events=tuple(
            Event(
                name=plain.clean(event.name),
                at=_moment(event.time_unix_nano),
                attributes=_proto_attributes(event.attributes),
            )
            for event in raw.events
        ),
        links=tuple(
            (_hex(link.trace_id.hex(), "links.trace_id"), _hex(link.span_id.hex(), "links.span_id"))
            for link in raw.links
        ),
        failed=raw.status.code in FAILED,
        service=service,
    )


def _proto_attributes(pairs: Any) -> dict[str, Any]:
    return {plain.clean(pair.key): _proto_value(pair.value, DEEPEST) for pair in pairs}


def _proto_value(value: Any, left: int) -> Any:
    if left == 0:
        raise InvalidInput(f"an attribute is nested more than {DEEPEST} levels deep")
    match value.WhichOneof("value"):
        case None:
            return None
        case "string_value":
            return plain.clean(value.string_value)
        case "array_value":
            return [_proto_value(one, left - 1) for one in value.array_value.values]
        case "kvlist_value":
            return {
                plain.clean(pair.key): _proto_value(pair.value, left - 1)
                for pair in value.kvlist_value.values
            }
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value":
            return plain.number(value.double_value)
        case kind:
            return getattr(value, kind)
