"""Traces come in: from real exporters, in both encodings, and from whoever sends nonsense."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from starlette.testclient import TestClient

from foreign import CHAT, TRACE, annotation, event, otlp, said, span
from heedful.domain.access import Scope
from heedful.domain.capture import Capture
from heedful.domain.episode import Episode, EpisodeState, Purpose, Turn
from heedful.domain.feedback import Feedback, Rating, Thumbs
from heedful.domain.ids import TenantId
from heedful.domain.models import Policy
from heedful.feedback.settings import CaptureSettings
from heedful.road import Parts
from heedful.service.api import build
from heedful.service.pages.traces import unpacked
from parts import make_parts

from .conftest import KeyFor, QuietLoop, asked, local

T = TenantId("default")
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
AGENT = {"gen_ai.operation.name": "invoke_agent"}


@contextmanager
def tracing(url: str, key: str | None = None, **exporter: Any) -> Iterator[trace.Tracer]:
    """A tracer as an application sets it up; all its spans have been sent when the block ends."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    sending = OTLPSpanExporter(f"{url}/v1/traces", headers=headers, **exporter)
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(sending))
    yield provider.get_tracer("test")
    provider.force_flush()
    provider.shutdown()


def two_agents(tracer: trace.Tracer) -> str:
    """Triage hands over to the resolver. Returns the trace's id."""
    to = {"gen_ai.handoff.from_agent": "triage", "gen_ai.handoff.to_agent": "resolver"}
    with tracer.start_as_current_span("handle ticket", attributes={"user.id": "user_7"}) as root:
        triage = {**AGENT, "gen_ai.agent.name": "triage"}
        with tracer.start_as_current_span("invoke_agent triage", attributes=triage):
            with tracer.start_as_current_span("chat gpt-4o", attributes=dict(CHAT)):
                pass
            with tracer.start_as_current_span("handoff", attributes=to):
                pass
        resolver = {**AGENT, "gen_ai.agent.name": "resolver"}
        with (
            tracer.start_as_current_span("invoke_agent resolver", attributes=resolver),
            tracer.start_as_current_span("chat gpt-4o", attributes=dict(CHAT)),
        ):
            pass
    return f"{root.get_span_context().trace_id:032x}"


def one_turn(parts: Parts) -> Turn:
    (turn,) = parts.store.find(Turn, T)
    return turn


def partial(answer: Any) -> tuple[int, str]:
    """How many were rejected, and why."""
    assert answer.status_code == 200, answer.text
    told = answer.json().get("partialSuccess", {})
    return int(told.get("rejectedSpans", 0)), told.get("errorMessage", "")


# -- what a real exporter sends ------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", list(Compression))
def test_a_real_exporters_spans_become_an_episode(
    served: str, http: TestClient, compression: Compression
) -> None:
    with tracing(served, compression=compression) as tracer:
        id = two_agents(tracer)
    page = http.get(f"/v1/episodes/otlp:{id}").json()
    spoke = [(one["by"], one["to"]) for one in page["conversation"]]
    assert spoke == [("triage", "resolver"), ("resolver", "user")]
    first, second = page["turns"]
    assert second["parent"] == first["id"]
    assert first["id"].startswith(f"otlp:{id}:")
    assert first["request"][0]["content"] == "Where is my parcel?"
    assert first["answer"] == "It comes tomorrow."
    assert first["policy"] == "triage@imported:gpt-4o-2024-08-06"
    assert first["sampling"]["temperature"] == 0.5
    assert first["usage"] == {"prompt_tokens": 12, "answer_tokens": 5, "spend": None}
    assert first["purpose"] == "imported"
    assert (page["episode"]["product"], page["episode"]["user"]) == ("shop", "user_7")


def test_an_agent_that_ends_after_its_calls_were_sent_is_known_in_the_end(
    served: str, http: TestClient, parts: Parts
) -> None:
    """Each span is sent when it ends: the calls come first, and are kept at once."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{served}/v1/traces")))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span(
        "invoke_agent triage", attributes={**AGENT, "gen_ai.agent.name": "triage"}
    ):
        with tracer.start_as_current_span("chat", attributes=dict(CHAT)):
            pass
        assert one_turn(parts).agent == "gpt-4o-2024-08-06"
    assert (one_turn(parts).agent, one_turn(parts).policy) == ("triage", "triage@imported:gpt-4o-2024-08-06")
    id = two_agents(tracer)
    page = http.get(f"/v1/episodes/otlp:{id}").json()
    spoke = [(one["by"], one["to"]) for one in page["conversation"]]
    assert spoke == [("triage", "resolver"), ("resolver", "user")]
    policy = parts.store.get(Policy, T, "triage@imported:gpt-4o-2024-08-06")
    assert policy is not None


def test_people_say_afterwards_what_they_think_of_it(served: str, parts: Parts) -> None:
    """A new span with one link, as OpenInference has it, sent by a real exporter long after."""
    with tracing(served) as tracer:
        two_agents(tracer)
    turn = parts.store.find(Turn, T)[-1]
    context = trace.SpanContext(
        trace_id=int(turn.metadata["trace"], 16), span_id=int(turn.metadata["span"], 16), is_remote=True
    )
    thought = annotation("user_feedback", label="thumbs-up", annotator_kind="HUMAN", identifier="user_7")
    with tracing(served) as tracer:
        tracer.start_span("feedback", links=[trace.Link(context)], attributes=thought).end()
    (said,) = parts.store.find(Feedback, T)
    assert (said.turn, said.said, said.by) == (turn.id, Thumbs(up=True), "user_7")
    assert (said.policy, said.episode) == (turn.policy, turn.episode)


def test_the_same_in_json_is_the_same(http: TestClient, parts: Parts) -> None:
    body = otlp(span(name="chat"))
    assert partial(http.post("/v1/traces", json=body)) == (0, "")
    turn = one_turn(parts)
    assert (turn.answer, turn.agent, turn.latency) == ("It comes tomorrow.", "gpt-4o-2024-08-06", 1.5)
    assert partial(http.post("/v1/traces", json=body)) == (0, "")
    assert parts.store.find(Turn, T) == [turn]


def test_the_answer_is_protobuf_when_the_question_was(http: TestClient) -> None:
    request = trace_service_pb2.ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="no ids")
    answer = http.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF)
    assert answer.headers["content-type"] == "application/x-protobuf"
    told = trace_service_pb2.ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert told.rejected_spans == 1
    assert "span_id" in told.error_message


def test_spans_that_are_no_calls_are_context_and_no_errors(http: TestClient, parts: Parts) -> None:
    assert partial(http.post("/v1/traces", json=otlp(span({"http.route": "/"}), span({})))) == (0, "")
    assert parts.views.tallies(T) == {}


def test_an_episode_that_is_still_told_of_is_open(http: TestClient, parts: Parts) -> None:
    http.post("/v1/traces", json=otlp(span()))
    (episode,) = parts.store.find(Episode, T)
    assert (episode.state, episode.purpose) == (EpisodeState.OPEN, Purpose.IMPORTED)
    ended = http.post(f"/v1/episodes/{episode.id}/end", json={"outcome": 1.0})
    assert ended.json()["outcome"] == 1.0


# -- what must not happen ------------------------------------------------------------------------------------


def test_what_answered_elsewhere_is_never_released(http: TestClient, parts: Parts) -> None:
    http.post("/v1/traces", json=otlp(span({**CHAT, "gen_ai.agent.name": "resolver"})))
    turn = one_turn(parts)
    policy = parts.store.get(Policy, T, turn.policy)
    assert policy is not None
    assert policy.version == 0
    refused = http.post("/v1/releases", json={"policy": policy.id, "override": "because"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert turn.allocation is None
    assert http.get("/v1/models").json()["data"] == []
    body = {"kind": "external", "upstream": "scripts", "model": "echo"}
    adopted = http.post("/v1/policies", json={"agent": "resolver", "body": body}).json()
    assert adopted["version"] == 1


def test_imported_turns_count_in_no_release(http: TestClient, parts: Parts, resolver: str) -> None:
    body = {"kind": "external", "upstream": "scripts", "model": "shout"}
    policy = http.post("/v1/policies", json={"agent": resolver, "body": body}).json()["id"]
    release = http.post("/v1/releases", json={"policy": policy}).json()["id"]
    http.post("/v1/traces", json=otlp(span({**CHAT, "gen_ai.agent.name": resolver})))
    assert parts.views.exposures(T, release) == []


def test_an_answer_of_our_own_gateway_is_not_kept_twice(
    http: TestClient, app: FastAPI, parts: Parts, resolver: str
) -> None:
    """The agent is traced as well: what is said about its span is about the gateway's turn."""
    answer = asked(http, resolver)
    app.state.service.recorder.settle()
    told = {**CHAT, "gen_ai.response.id": answer["id"], **annotation("helpfulness", score=0.75)}
    assert partial(http.post("/v1/traces", json=otlp(span(told)))) == (0, "")
    assert [turn.id for turn in parts.store.find(Turn, T)] == [answer["id"]]
    (heard,) = parts.store.find(Feedback, T)
    assert heard.turn == answer["id"]
    assert heard.said == Rating(value=0.75, low=0, high=1, aspect="helpfulness")


def test_an_agents_key_brings_feedback_on_what_it_brought_and_on_nothing_else(
    app: FastAPI, http: TestClient, parts: Parts, resolver: str, key_for: KeyFor
) -> None:
    answer = asked(http, resolver)
    app.state.service.recorder.settle()
    agent = local(app, key_for(Scope.AGENT))
    own = span({**CHAT, **annotation("user_feedback", score=1, annotator_kind="HUMAN")})
    praise = span(
        {"gen_ai.response.id": answer["id"], **annotation("user_feedback", score=1)}, trace="b" * 32
    )
    rejected, why = partial(agent.post("/v1/traces", json=otlp(own, praise)))
    assert rejected == 1
    assert "answered here" in why
    assert len(parts.store.find(Feedback, T)) == 1
    admin = local(app, key_for(Scope.ADMIN))
    assert partial(admin.post("/v1/traces", json=otlp(own, praise))) == (0, "")
    assert len(parts.store.find(Feedback, T)) == 2


def test_tenants_do_not_meet(app: FastAPI, parts: Parts, key_for: KeyFor) -> None:
    for tenant in ("acme", "other"):
        client = local(app, key_for(Scope.AGENT, TenantId(tenant)))
        assert partial(client.post("/v1/traces", json=otlp(span(id="c" * 16)))) == (0, "")
    for tenant in ("acme", "other"):
        assert len(parts.store.find(Turn, TenantId(tenant))) == 1


def test_feedback_sent_again_is_kept_once(http: TestClient, parts: Parts) -> None:
    told = otlp(
        span({**CHAT, **annotation("correctness", score=1, annotator_kind="LLM", identifier="judge-2")})
    )
    for _ in range(2):
        assert partial(http.post("/v1/traces", json=told)) == (0, "")
    (heard,) = parts.store.find(Feedback, T)
    assert (heard.by, heard.metadata["annotator_kind"]) == ("judge-2", "LLM")


def test_one_bad_span_does_not_harm_its_neighbours(http: TestClient, parts: Parts) -> None:
    bad = [
        {"traceId": "", "spanId": "x"},
        span(links=[("a" * 32, "b" * 16)] * 2, says={**annotation("x", score=1)}),
        span({**CHAT, "gen_ai.input.messages": '[{"role":"wizard","content":"?"}]'}),
        span(startTimeUnixNano="0", endTimeUnixNano="0"),
        span(startTimeUnixNano="9" * 18, endTimeUnixNano="9" * 19),
        "no object",
    ]
    rejected, why = partial(http.post("/v1/traces", json=otlp(*bad, span())))
    assert rejected == len(bad)
    assert "more" in why
    assert one_turn(parts).answer == "It comes tomorrow."


# -- what does not read --------------------------------------------------------------------------------------


def test_a_bomb_is_refused(http: TestClient) -> None:
    bomb = gzip.compress(b"\0" * 200_000_000)
    assert len(bomb) < 200_000
    answer = http.post("/v1/traces", content=bomb, headers={**PROTOBUF, "content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_was_packed_is_unpacked(http: TestClient, parts: Parts, encoding: str) -> None:
    body = json.dumps(otlp(span())).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    assert partial(
        http.post("/v1/traces", content=packed, headers={**JSON, "content-encoding": encoding})
    ) == (0, "")
    assert one_turn(parts).answer == "It comes tomorrow."


def test_unpacking_stops_at_the_limit() -> None:
    assert unpacked(gzip.compress(b"x" * 100), "gzip", most=100) == b"x" * 100
    with pytest.raises(Exception, match="more than 99 bytes"):
        unpacked(gzip.compress(b"x" * 100), "gzip", most=99)


@pytest.mark.parametrize(
    ("body", "headers", "field"),
    [
        (b"{", JSON, "body"),
        (b"[]", JSON, "resourceSpans"),
        (b'{"resourceSpans":5}', JSON, "resourceSpans"),
        (b"{}", {"content-type": "text/plain"}, "content-type"),
        (b"{}", {}, "content-type"),
        (b"{}", {**JSON, "content-encoding": "br"}, "content-encoding"),
        (b"{}", {**JSON, "content-encoding": "gzip"}, "body"),
        (gzip.compress(b"{}", mtime=0)[:-4], {**JSON, "content-encoding": "gzip"}, "body"),
        (b"\xff\xff\xff\xff", PROTOBUF, "body"),
    ],
)
def test_what_does_not_read_is_refused_with_the_reason(
    http: TestClient, body: bytes, headers: dict[str, str], field: str
) -> None:
    answer = http.post("/v1/traces", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]["param"] == field


def test_without_the_package_protobuf_is_refused_and_json_works() -> None:
    """In a process of its own, in which the package cannot be imported."""
    script = (
        "import sys; sys.modules['opentelemetry.proto.collector.trace.v1'] = None\n"
        "from heedful.errors import Misconfigured\n"
        "from heedful.feedback.formats import otlp\n"
        "assert otlp.of_json_bytes(b'{}') == ([], [])\n"
        "assert otlp.answer(protobuf=False, rejected=0, why='') == b'{}'\n"
        "try: otlp.of_protobuf(b'')\n"
        "except Misconfigured as error: print(error.status, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("415 ")
    assert "heedful[otel]" in done.stdout


KEYS = st.sampled_from(
    [
        *("resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "stringValue", "arrayValue"),
        *(
            "values",
            "kvlistValue",
            "intValue",
            "traceId",
            "spanId",
            "parentSpanId",
            "events",
            "links",
            "status",
        ),
        *("startTimeUnixNano", "endTimeUnixNano", "resource", "name", "code"),
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.fixed_dictionaries({"resourceSpans": st.lists(ANYTHING, max_size=3)}) | ANYTHING)
def test_no_json_makes_the_server_fail(http: TestClient, sent: Any) -> None:
    assert http.post("/v1/traces", content=json.dumps(sent), headers=JSON).status_code < 500


TOLD = st.sampled_from(
    [
        *CHAT,
        *(
            "gen_ai.prompt",
            "gen_ai.prompt.0.content",
            "gen_ai.prompt.0.role",
            "gen_ai.completion.0.tool_calls.0",
        ),
        *("gen_ai.completion", "gen_ai.system_instructions", "gen_ai.agent.name", "gen_ai.conversation.id"),
        *("gen_ai.response.id", "gen_ai.handoff.to_agent", "openinference.span.kind", "llm.model_name"),
        *(
            "llm.input_messages.0.message.role",
            "llm.input_messages.0.message.contents.0.message_content.type",
        ),
        *("llm.output_messages.0.message.tool_calls.0.tool_call.function.name", "llm.invocation_parameters"),
        *("input.value", "output.value", "session.id", "user.id", "gen_ai.response.finish_reasons"),
        *(
            "annotations.0.annotation.name",
            "annotations.0.annotation.score",
            "annotations.0.annotation.metadata",
        ),
        *(
            "session.evaluations.1.evaluation.label",
            "trace.annotations.0.annotation.name",
            "graph.node.parent_id",
        ),
    ]
)
SAYS = st.one_of(
    LEAVES,
    st.sampled_from(
        ["LLM", "AGENT", "EVALUATOR", "chat", "invoke_agent", "thumbs", "up", "[]", "{}", "[[]]"]
    ),
    ANYTHING.map(lambda one: json.dumps(one)),
    st.lists(LEAVES, max_size=3),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(st.dictionaries(TOLD, SAYS, max_size=6), max_size=4), data=st.data())
def test_no_attributes_make_the_server_fail(http: TestClient, told: list[dict[str, Any]], data: Any) -> None:
    ids = ["1" * 16, "2" * 16, "3" * 16]
    spans = [
        span(
            one,
            id=data.draw(st.sampled_from(ids)),
            parent=data.draw(st.sampled_from([*ids, ""])),
            at=data.draw(st.integers(0, 3)),
            seconds=data.draw(st.integers(0, 2)),
            events=[event(data.draw(st.sampled_from(["gen_ai.choice", "gen_ai.evaluation.result"])), one)],
        )
        for one in told
    ]
    assert http.post("/v1/traces", content=json.dumps(otlp(*spans)), headers=JSON).status_code < 500


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 400), byte=st.integers(0, 255), cut=st.integers(0, 400))
def test_no_protobuf_makes_the_server_fail(http: TestClient, place: int, byte: int, cut: int) -> None:
    """A good request with one byte changed, or its end cut off."""
    body = bytearray(_request().SerializeToString())
    body[place % len(body)] = byte
    sent = bytes(body[: len(body) - cut % 3])
    assert http.post("/v1/traces", content=sent, headers=PROTOBUF).status_code < 500


def _request() -> Any:
    request = trace_service_pb2.ExportTraceServiceRequest()
    made = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=bytes.fromhex(TRACE), span_id=b"12345678", start_time_unix_nano=1, end_time_unix_nano=2
        )
    )
    for name, text in (("gen_ai.operation.name", "chat"), ("gen_ai.input.messages", said("Hi"))):
        made.attributes.add(key=name).value.string_value = text
    return request


# -- what a tenant does not want kept ------------------------------------------------------------------------


@pytest.mark.parametrize("level", [Capture.REDACTED, Capture.METADATA])
def test_what_a_tenant_does_not_want_kept_is_not_written_down(tmp_path: Path, level: Capture) -> None:
    made = make_parts(tmp_path, capture=CaptureSettings(default=level))
    client = local(build(made, QuietLoop(made)))
    secret = said("My card is 4111 1111 1111 1111, mail me at ann@mail.example.")
    thought = annotation("note", explanation="ask ann@mail.example", annotator_kind="HUMAN")
    call = span({**CHAT, "gen_ai.input.messages": secret, **thought}, id="b" * 16, parent="a" * 16)
    assert partial(client.post("/v1/traces", json=otlp(call))) == (0, "")
    agent = span({**AGENT, "gen_ai.agent.name": "triage"}, id="a" * 16)
    assert partial(client.post("/v1/traces", json=otlp(agent))) == (0, "")
    turn = one_turn(made)
    (heard,) = made.store.find(Feedback, T)
    assert (turn.capture, turn.agent, turn.id[-16:]) == (level, "triage", "b" * 16)
    made.store.close()
    written = b"".join(file.read_bytes() for file in tmp_path.glob("heedful.db*"))
    assert b"4111" not in written
    assert b"ann@mail" not in written
    assert heard.turn == turn.id
