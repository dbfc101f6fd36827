"""A trace processor for `openai-agents`: what the agents of that framework do arrives at Heedful's `/v1/traces`.

    from agents.tracing import add_trace_processor
    from heedful.integrations.openai_agents import HeedfulProcessor

    add_trace_processor(HeedfulProcessor("http://127.0.0.1:8080", key=None))

A trace is sent when it ends, whole, so that every call is known with its agent and every handoff with both sides.
Nothing here raises into the agents or makes them wait: what is to be sent waits in a bounded queue for a thread of
its own, which is patient with a server that is busy or away; when the queue is full the newest trace is left out,
and the log says so. What the agents ask of Heedful's own gateway is on record there, and not sent a second time.
"""

from __future__ import annotations

import atexit
import gzip
import hashlib
import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from agents.tracing import Span, Trace
    from agents.tracing import TracingProcessor as Base
else:  # the framework asks for the methods and not for the class, and is not needed to read this
    Base = object

log = logging.getLogger("heedful.integrations.openai_agents")

Json = dict[str, Any]
Wire = list[Json]  # spans as OTLP has them in JSON

WAITING = 20_000  # spans in the queue
TOGETHER = 500  # spans in one request
LONG = 2_000  # spans of one trace, after which a part of it is sent
PASSING = frozenset({408, 429, 502, 503, 504})
ATTEMPTS = 8
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between attempts
FLUSH_SECONDS = 10.0
SCOPE = "heedful.integrations.openai_agents"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INTERNAL, CLIENT = 1, 3


@dataclass(slots=True)
class _Open:
    """A trace that goes on."""

    name: str
    common: Json  # attributes of all its spans
    spans: Wire = field(default_factory=list)
    parents: dict[str, str | None] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)  # by span


class HeedfulProcessor(Base):
    """Give it to `add_trace_processor`, or to `set_trace_processors` to send traces nowhere else."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        service: str | None = None,
        waiting: int = WAITING,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._service = service
        self._most = waiting
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        self._client = httpx.Client(headers=headers, timeout=timeout, transport=transport)
        self._open: dict[str, _Open] = {}
        self._queue: deque[Wire] = deque()
        self._queued = 0  # spans
        self._sending = False
        self._closed = False
        self._hurry = threading.Event()  # nobody has the time to wait for a busy server any longer
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0  # spans that were left out
        atexit.register(self.shutdown)

    # -- what the framework calls ------------------------------------------------------------------------

    def on_trace_start(self, trace: Trace) -> None:
        def begin() -> None:
            said = trace.export() or {}
            with self._news:
                self._open[trace.trace_id] = _Open(trace.name, _common(said))

        self._safely(begin)

    def on_span_start(self, span: Span[Any]) -> None:
        def begin() -> None:
            with self._news:
                trace = self._trace(span.trace_id)
                trace.parents[span.span_id] = span.parent_id
                if span.span_data.type == "agent":
                    trace.agents[span.span_id] = span.span_data.name

        self._safely(begin)

    def on_span_end(self, span: Span[Any]) -> None:
        def end() -> None:
            with self._news:
                trace = self._trace(span.trace_id)
                agent = _agent_of(trace, span.span_id)
            made = _wire(span, trace.name, agent, trace.common, self._url)
            with self._news:
                trace.spans.append(made)
                if len(trace.spans) >= LONG:
                    self._enqueue(trace)

        self._safely(end)

    def on_trace_end(self, trace: Trace) -> None:
        def end() -> None:
            with self._news:
                found = self._open.pop(trace.trace_id, None)
                if found is not None:
                    self._enqueue(found)

        self._safely(end)

    def force_flush(self, timeout: float = FLUSH_SECONDS) -> None:
        """Send what there is, also of traces that go on, and wait for it."""

        def flush() -> None:
            with self._news:
                for trace in self._open.values():
                    self._enqueue(trace)
                self._news.wait_for(lambda: not self._queue and not self._sending, timeout)

        self._safely(flush)

    def shutdown(self, timeout: float = FLUSH_SECONDS) -> None:
        """Send what there is, then stop. Safe to call again."""
        if self._closed:
            return
        atexit.unregister(self.shutdown)
        self.force_flush(timeout)
        self._hurry.set()
        with self._news:
            self._closed = True
            if self._queue:
                log.warning("traces were not sent", extra={"spans": self._queued})
            self._news.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)
        self._client.close()

    # -- the queue ---------------------------------------------------------------------------------------

    def _safely(self, do: Callable[[], None]) -> None:
        """An agent never fails because somebody watches it."""
        try:
            do()
        except Exception:  # whatever it is, the agent has to go on
            log.exception("a trace was not understood")

    def _trace(self, id: str) -> _Open:
        """One that began before we were there has no name."""
        return self._open.setdefault(id, _Open("", {}))

    def _enqueue(self, trace: _Open) -> None:
        """Under the lock."""
        spans, trace.spans = trace.spans, []
        if not spans:
            return
        if self._closed or self._queued + len(spans) > self._most:
            self.dropped += len(spans)
            log.warning("a trace was left out: too much waits to be sent", extra={"spans": len(spans)})
            return
        for start in range(0, len(spans), TOGETHER):
            self._queue.append(spans[start : start + TOGETHER])
        self._queued += len(spans)
        if self._thread is None or not self._thread.is_alive():  # not yet, or we are a fork
            self._thread = threading.Thread(target=self._run, name="heedful-traces", daemon=True)
            self._thread.start()
        self._news.notify_all()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._queue or self._closed)
                if not self._queue or self._closed:
                    return
                spans = self._queue.popleft()
                self._sending = True
            try:
                self._send(spans)
            except Exception:  # the next one may be better
                log.exception("a trace was not sent")
            finally:
                with self._news:
                    self._queued -= len(spans)
                    self._sending = False
                    self._news.notify_all()

    # -- sending -----------------------------------------------------------------------------------------

    def _send(self, spans: Wire) -> None:
        body = gzip.compress(json.dumps(_request(spans, self._service)).encode(), compresslevel=3)
        for attempt in range(1, ATTEMPTS + 1):
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            try:
                answer = self._client.post(f"{self._url}/v1/traces", content=body)
            except httpx.TransportError as error:
                why = repr(error)
            else:
                if answer.status_code == 413 and len(spans) > 1:
                    self._send(spans[: len(spans) // 2])
                    self._send(spans[len(spans) // 2 :])
                    return
                if answer.status_code not in PASSING:
                    self._settled(answer, spans)
                    return
                why, wait = f"status {answer.status_code}", _asked_to_wait(answer, wait)
            if attempt < ATTEMPTS and self._hurry.wait(wait):
                break
        self._lost(spans, why)

    def _settled(self, answer: httpx.Response, spans: Wire) -> None:
        if answer.status_code >= 300:
            self._lost(spans, f"status {answer.status_code}: {answer.text[:500]}")
            return
        partial = answer.json().get("partialSuccess") if answer.content else None
        if partial:
            log.warning("the server could not use some spans", extra={"reason": partial.get("errorMessage")})

    def _lost(self, spans: Wire, why: str) -> None:
        self.dropped += len(spans)
        log.warning("a trace was not sent", extra={"spans": len(spans), "reason": why})


def _asked_to_wait(answer: httpx.Response, usual: float) -> float:
    try:
        return min(LONGEST_WAIT * 4, max(0.0, float(answer.headers["retry-after"])))
    except (KeyError, ValueError):
        return usual


# -- spans as OTLP has them ----------------------------------------------------------------------------------


def _request(spans: Wire, service: str | None) -> Json:
    resource = {"attributes": _attributes({"service.name": service})}
    return {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": SCOPE}, "spans": spans}]}]
    }


def _common(trace: Mapping[str, Any]) -> Json:
    metadata = trace.get("metadata") or {}
    return {
        "gen_ai.conversation.id": trace.get("group_id"),
        "user.id": metadata.get("user_id") or metadata.get("user"),
    }


def _agent_of(trace: _Open, span: str) -> str | None:
    """The nearest agent around a span."""
    at: str | None = span
    for _ in range(len(trace.parents) + 1):
        if at is None or at in trace.agents:
            break
        at = trace.parents.get(at)
    return None if at is None else trace.agents.get(at)


def _wire(span: Span[Any], workflow: str, agent: str | None, common: Json, url: str) -> Json:
    data = span.span_data
    name, told = SAID.get(data.type, _other)(data)
    if data.type == "generation" and str(told.pop("base_url", "")).startswith(f"{url}/"):
        told.pop("gen_ai.operation.name")  # our own gateway was asked, and has it on record
    told = {
        "gen_ai.agent.name": agent,
        "gen_ai.workflow.name": workflow or None,
        **common,
        **told,
        "openai_agents.span_id": span.span_id,
        "openai_agents.span_type": data.type,
    }
    made: Json = {
        "traceId": _trace_id(span.trace_id),
        "spanId": _span_id(span.span_id),
        "name": name,
        "kind": CLIENT if data.type in ("generation", "response") else INTERNAL,
        "startTimeUnixNano": _nanoseconds(span.started_at),
        "endTimeUnixNano": _nanoseconds(span.ended_at or span.started_at),
        "attributes": _attributes(told),
    }
    if span.parent_id is not None:
        made["parentSpanId"] = _span_id(span.parent_id)
    if span.error is not None:
        made["status"] = {"code": 2, "message": str(span.error.get("message", ""))[:1000]}
    return made


def _trace_id(id: str) -> str:
    """Theirs is a prefix and 32 hexadecimal digits."""
    digits = id.rpartition("_")[2]
    plain = len(digits) == 32 and set(digits) <= set("0123456789abcdef")
    return digits if plain else hashlib.sha256(id.encode()).hexdigest()[:32]


def _span_id(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest()[:16]


def _nanoseconds(at: str | None) -> str:
    if at is None:
        return str(time.time_ns())
    return str((datetime.fromisoformat(at) - EPOCH) // timedelta(microseconds=1) * 1000)


def _attributes(said: Mapping[str, Any]) -> Wire:
    return [{"key": name, "value": _value(value)} for name, value in said.items() if value is not None]


def _value(value: Any) -> Json:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
        case str():
            return {"stringValue": value}
        case _:
            return {"stringValue": _json(value)}


def _json(value: Any) -> str:
    """Also of what the framework keeps as objects."""
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_unset=True) if dump is not None else str(value)


# -- what each kind of span says -----------------------------------------------------------------------------


def _agent(data: Any) -> tuple[str, Json]:
    said = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": data.name}
    return f"invoke_agent {data.name}", said


def _task(data: Any) -> tuple[str, Json]:
    said = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": data.name}
    return f"invoke_workflow {data.name}", said


def _turn(data: Any) -> tuple[str, Json]:
    return f"turn {data.turn}", {"gen_ai.agent.name": data.agent_name}


def _generation(data: Any) -> tuple[str, Json]:
    asked, usage = data.model_config or {}, data.usage or {}
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": data.model,
        "gen_ai.request.temperature": _number(asked.get("temperature")),
        "gen_ai.request.top_p": _number(asked.get("top_p")),
        "gen_ai.request.max_tokens": asked.get("max_tokens"),
        "gen_ai.usage.input_tokens": usage.get("input_tokens"),
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "gen_ai.input.messages": None if data.input is None else _json(_messages(data.input)),
        "gen_ai.output.messages": None if data.output is None else _json(_messages(data.output)),
        "base_url": asked.get("base_url"),
    }
    return f"chat {data.model}", said


def _response(data: Any) -> tuple[str, Json]:
    reply = data.response
    usage = getattr(reply, "usage", None)
    model = getattr(reply, "model", None)
    instructions = getattr(reply, "instructions", None)
    output = getattr(reply, "output", None)
    given = [{"role": "user", "content": data.input}] if isinstance(data.input, str) else data.input
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": model,
        "gen_ai.response.id": getattr(reply, "id", None),
        "gen_ai.request.temperature": _number(getattr(reply, "temperature", None)),
        "gen_ai.request.top_p": _number(getattr(reply, "top_p", None)),
        "gen_ai.request.max_tokens": getattr(reply, "max_output_tokens", None),
        "gen_ai.usage.input_tokens": getattr(usage, "input_tokens", None),
        "gen_ai.usage.output_tokens": getattr(usage, "output_tokens", None),
        "gen_ai.system_instructions": _json([{"type": "text", "content": instructions}])
        if isinstance(instructions, str)
        else None,
        "gen_ai.input.messages": None if given is None else _json(_messages(given)),
        # Everything that was put out at once is one message.
        "gen_ai.output.messages": _json([_together(_messages(output))]) if output else None,
    }
    return f"chat {model}", said


def _function(data: Any) -> tuple[str, Json]:
    said = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": data.name,
        "gen_ai.tool.call.arguments": data.input,
        "gen_ai.tool.call.result": None if data.output is None else str(data.output),
    }
    return f"execute_tool {data.name}", said


def _handoff(data: Any) -> tuple[str, Json]:
    said = {"gen_ai.handoff.from_agent": data.from_agent, "gen_ai.handoff.to_agent": data.to_agent}
    return f"handoff from {data.from_agent} to {data.to_agent}", said


def _guardrail(data: Any) -> tuple[str, Json]:
    said = {"gen_ai.guardrail.name": data.name, "gen_ai.guardrail.triggered": data.triggered}
    return f"guardrail {data.name}", said


def _other(data: Any) -> tuple[str, Json]:
    return str(getattr(data, "name", None) or data.type), {}


SAID: Mapping[str, Callable[[Any], tuple[str, Json]]] = {
    "agent": _agent,
    "task": _task,
    "turn": _turn,
    "generation": _generation,
    "response": _response,
    "function": _function,
    "handoff": _handoff,
    "guardrail": _guardrail,
}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _messages(said: Sequence[Any]) -> Wire:
    """As OpenTelemetry has them: a role, and parts."""
    found = []
    for one in said:
        raw = one if isinstance(one, Mapping) else _plain(one)
        if isinstance(raw, Mapping):
            found.append(_message(raw))
    return found


def _message(raw: Mapping[str, Any]) -> Json:
    match raw.get("type"):
        case "function_call":
            return {"role": "assistant", "parts": [_call(raw)]}
        case "function_call_output":
            return {"role": "tool", "parts": [_result(raw.get("call_id"), raw.get("output"))]}
        case "reasoning":
            return {"role": "assistant", "parts": [{"type": "reasoning", "content": ""}]}
    role = raw.get("role") or "assistant"
    if role == "tool":
        return {"role": "tool", "parts": [_result(raw.get("tool_call_id"), raw.get("content"))]}
    content = raw.get("content")
    parts = [{"type": "text", "content": content}] if isinstance(content, str) and content else []
    for part in content if isinstance(content, Sequence) and not isinstance(content, str) else ():
        text = part.get("text") or part.get("refusal") if isinstance(part, Mapping) else None
        parts.append({"type": "text", "content": text} if text else {"type": str(_kind(part))})
    parts += [_call({**call, **(call.get("function") or {})}) for call in raw.get("tool_calls") or ()]
    return {"role": role, "parts": parts}


def _kind(part: Any) -> str:
    return str(part.get("type", "part")) if isinstance(part, Mapping) else "part"


def _call(raw: Mapping[str, Any]) -> Json:
    id = raw.get("call_id") or raw.get("id")
    return {"type": "tool_call", "id": id, "name": raw.get("name"), "arguments": raw.get("arguments")}


def _result(id: Any, said: Any) -> Json:
    return {"type": "tool_call_response", "id": id, "response": said}


def _together(messages: Wire) -> Json:
    return {"role": "assistant", "parts": [part for message in messages for part in message["parts"]]}
