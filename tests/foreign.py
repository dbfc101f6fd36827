"""What others send: OTLP as JSON, one span at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

TRACE = "a" * 32
BEGAN = datetime(2026, 6, 1, 12, tzinfo=UTC)
_ids = count(1)


def said(text: str, role: str = "user", **more: Any) -> str:
    """One message by today's convention."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}], **more}])


CHAT: Mapping[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.request.temperature": 0.5,
    "gen_ai.input.messages": said("Where is my parcel?"),
    "gen_ai.output.messages": said("It comes tomorrow.", "assistant", finish_reason="stop"),
}


def value(of: Any) -> dict[str, Any]:
    match of:
        case bool():
            return {"boolValue": of}
        case int():
            return {"intValue": str(of)}
        case float():
            return {"doubleValue": of}
        case list():
            return {"arrayValue": {"values": [value(one) for one in of]}}
        case dict():
            return {"kvlistValue": {"values": attributes(of)}}
        case _:
            return {"stringValue": of}


def attributes(of: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": value(one)} for name, one in of.items()]


def nanoseconds(at: datetime) -> str:
    return str(int(at.timestamp() * 1000) * 1_000_000)


def span(
    says: Mapping[str, Any] | None = None,
    *,
    id: str | None = None,
    trace: str = TRACE,
    parent: str | None = None,
    at: float = 0.0,
    seconds: float = 1.5,
    name: str = "span",
    events: Sequence[dict[str, Any]] = (),
    links: Sequence[tuple[str, str]] = (),
    **more: Any,
) -> dict[str, Any]:
    """A chat unless told otherwise; `at` is seconds after noon."""
    began = BEGAN + timedelta(seconds=at)
    return {
        "traceId": trace,
        "spanId": id or f"{next(_ids):016x}",
        **({"parentSpanId": parent} if parent else {}),
        "name": name,
        "startTimeUnixNano": nanoseconds(began),
        "endTimeUnixNano": nanoseconds(began + timedelta(seconds=seconds)),
        "attributes": attributes(CHAT if says is None else says),
        "events": list(events),
        "links": [{"traceId": trace, "spanId": id} for trace, id in links],
        **more,
    }


def event(name: str, says: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "timeUnixNano": nanoseconds(BEGAN), "attributes": attributes(says)}


def otlp(*spans: Any, service: str = "shop") -> dict[str, Any]:
    """One request."""
    resource = {"attributes": attributes({"service.name": service})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def annotation(name: str, *, word: str = "annotation", scope: str = "", **fields: Any) -> dict[str, Any]:
    """One piece of OpenInference's feedback, flattened."""
    return {f"{scope}{word}s.0.{word}.{key}": one for key, one in {"name": name, **fields}.items()}
