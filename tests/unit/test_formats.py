"""Others' logs, read: one fixture per format, and what each convention says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreign import BEGAN, CHAT, annotation, event, otlp, said, span
from heedful.domain.capture import Capture
from heedful.domain.content import ImagePart, TextPart
from heedful.domain.episode import EpisodeState, Purpose, Turn
from heedful.domain.feedback import Completion, Correction, Flag, Form, Rating, Source, Thumbs
from heedful.domain.ids import AgentId, TenantId, TurnId
from heedful.errors import InvalidInput
from heedful.feedback.formats import found as elsewhere
from heedful.feedback.formats import genai, items, langfuse, openai_jsonl, phoenix
from heedful.feedback.formats import otlp as wire
from heedful.feedback.formats.found import Found, Problem, Reading
from heedful.feedback.formats.items import Item, gathered
from heedful.feedback.formats.said import Opinion, Target, form_of
from heedful.feedback.formats.spans import Span

DATA = Path(__file__).resolve().parents[1] / "data" / "imports"
READING = Reading(tenant=TenantId("acme"), now=datetime(2026, 7, 1, tzinfo=UTC))


def read(how: Any, *names: str, reading: Reading = READING) -> Found:
    """The fixtures of these names, by this reader."""
    problems: list[Problem] = []

    def lines() -> Iterable[tuple[str, bytes]]:
        for name in names:
            data = (DATA / name).read_bytes()
            if name.endswith(".json"):
                yield "", data
            else:
                yield from ((f"line {n}", line) for n, line in enumerate(data.splitlines(), start=1))

    parts = list(how.read(items.items(lines(), problems), reading))
    return elsewhere.joined([*parts, Found(problems=tuple(problems))])


def traced(*spans: Any) -> Found:
    return genai.read(wire.of_json(otlp(*spans))[0], READING)


def spoken(found: Found) -> list[tuple[str, str | None]]:
    return [(turn.agent, turn.addressee) for turn in sorted(found.turns, key=lambda turn: turn.at)]


def wheres(found: Found) -> list[str]:
    return sorted(one.where for one in found.problems)


# -- OpenAI's lines ------------------------------------------------------------------------------------------


def test_a_chat_for_fine_tuning_is_an_episode_with_a_turn_for_each_answer() -> None:
    found = read(
        openai_jsonl,
        "chats.jsonl",
        reading=Reading(tenant=TenantId("acme"), now=READING.now, agent=AgentId("helper")),
    )
    assert len(found.episodes) == 3
    first, second, asks, done, _ = found.turns
    assert (first.answer, second.answer) == ("It comes tomorrow.", "It is in your account.")
    assert second.parent == first.id
    assert [one.text for one in second.request][-2:] == ["It comes tomorrow.", "And the invoice?"]
    assert (asks.tool_calls[0].name, asks.finish) == ("cancel", "tool_calls")
    assert done.request[-1].tool_call_id == "call_1"
    assert {turn.agent for turn in found.turns} == {"helper"}
    assert wheres(found) == ["line 3", "line 4", "line 5"]


def test_requests_with_their_replies_are_turns() -> None:
    found = read(openai_jsonl, "requests.jsonl")
    looked, blue, red, brief = found.turns
    assert looked.agent == "looker"
    assert looked.request[0].content == (
        TextPart(text="What is this?"),
        ImagePart(url="https://shop.example/7.png"),
    )
    assert (looked.usage.prompt_tokens, looked.sampling.temperature) == (90, 0.2)
    assert (blue.answer, red.answer, red.sibling_of, red.finish) == ("Blue.", "Red.", blue.id, "length")
    assert looked.episode == blue.episode == "openai:session:s1"
    assert [(one.role, one.text) for one in brief.request] == [("system", "Be brief."), ("user", "Hello?")]
    assert (brief.answer, brief.metadata["gen_ai.response.id"]) == ("Hi.", "resp_3")
    assert wheres(found) == ["line 4"]
    assert looked.at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "order", [("batch_input.jsonl", "batch_output.jsonl"), ("batch_output.jsonl", "batch_input.jsonl")]
)
def test_the_two_files_of_a_batch_find_each_other(order: tuple[str, str]) -> None:
    found = read(openai_jsonl, *order)
    answers = {turn.request[0].text: turn.answer for turn in found.turns}
    assert answers == {"Late parcel": "We look into it.", "Broken mug": "We send another."}
    assert sorted(one.reason[:40] for one in found.problems) == [
        "custom_id 'ticket-3': its reply is not h",
        "the request 'ticket-9' failed: nothing w",
    ]


# -- Langfuse ------------------------------------------------------------------------------------------------


def test_a_langfuse_trace_is_an_episode_of_its_agents() -> None:
    found = read(langfuse, "langfuse.json")
    assert spoken(found) == [("triage", "resolver"), ("resolver", "user")]
    first, second = found.turns
    assert (first.id, second.parent) == ("langfuse:trace-1:obs-1", first.id)
    assert (first.usage.prompt_tokens, first.usage.spend, second.usage.answer_tokens) == (20, 0.0002, 3)
    (episode,) = found.episodes
    assert (episode.user, episode.task_type, episode.state) == ("user_7", "support", EpisodeState.DONE)
    assert episode.purpose is Purpose.IMPORTED


def test_langfuse_scores_are_feedback() -> None:
    found = read(langfuse, "langfuse.json")
    by = {one.metadata["name"]: one for one in found.feedback}
    assert by["user-feedback"].said == Thumbs(up=True)
    assert by["user-feedback"].turn == "langfuse:trace-1:obs-2"
    assert by["resolved"].said == Completion(completed=True, quality=1.0)
    assert (by["resolved"].by, by["resolved"].episode) == ("rita", "langfuse:trace-1")
    assert by["output"].said == Correction(text="In Lyon, and it comes tomorrow.")
    (problem,) = found.problems
    assert "'stars' has a score of 4" in problem.reason


def test_a_scale_that_no_export_says_is_said_on_the_command_line() -> None:
    reading = Reading(tenant=TenantId("acme"), now=READING.now, scales={"stars": (1.0, 5.0)})
    found = read(langfuse, "langfuse.json", reading=reading)
    ratings = [one.said for one in found.feedback if isinstance(one.said, Rating)]
    assert ratings == [Rating(value=4, low=1, high=5, aspect="stars")]


def test_langfuse_columns_are_read_as_its_api() -> None:
    found = read(langfuse, "langfuse.jsonl")
    hello, gladly = found.turns
    assert (hello.request[0].text, hello.answer, gladly.answer) == ("Hi", "Hello", "Gladly")
    assert hello.sampling.temperature == 0.3
    assert {turn.episode for turn in found.turns} == {"langfuse:session:s1"}
    (said,) = found.feedback
    assert (said.said, said.turn) == (Thumbs(up=False), gladly.id)  # the exchange, not the whole conversation
    assert wheres(found) == ["line 4", "line 5", "line 6"]


# -- Phoenix -------------------------------------------------------------------------------------------------


def test_phoenix_spans_are_read_flat_and_nested() -> None:
    found = read(phoenix, "phoenix.jsonl")
    tracks, answers, alone = sorted(found.turns, key=lambda turn: turn.at)
    assert (tracks.id, tracks.agent, tracks.episode) == (
        "phoenix:00f067aa0ba902b7",
        "resolver",
        "phoenix:session:s9",
    )
    assert (tracks.tool_calls[0].name, tracks.sampling.stop) == ("track", ("END",))
    assert (answers.answer, answers.addressee, answers.parent) == ("In Lyon.", "user", tracks.id)
    assert (answers.usage.prompt_tokens, answers.usage.answer_tokens) == (20, 3)
    assert (alone.answer, alone.request[0].text, alone.agent) == ("Hello", "Hi", "gpt-4o")


def test_phoenix_annotations_are_feedback() -> None:
    found = read(phoenix, "phoenix.jsonl")
    judged, noted = found.feedback
    assert judged.said == Rating(value=1.0, low=0, high=1, aspect="hallucination")  # none of it is the best
    assert (judged.turn, judged.by) == ("phoenix:00f067aa0ba902b8", "judge-2")
    assert (noted.said, noted.episode) == (Flag(reason="Look at this one."), "phoenix:session:s9")
    (problem,) = found.problems
    assert (problem.where, "'so-so'" in problem.reason) == ("line 6", True)


# -- OpenTelemetry: content ----------------------------------------------------------------------------------


def test_the_older_dialect_is_understood() -> None:
    older = {
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4",
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be brief.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "Where is it?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.tool_calls.0.id": "call_1",
        "gen_ai.completion.0.tool_calls.0.name": "track",
        "gen_ai.completion.0.tool_calls.0.arguments": '{"order": 7}',
        "gen_ai.usage.prompt_tokens": 20,
        "gen_ai.usage.completion_tokens": 4,
    }
    (turn,) = traced(span(older)).turns
    assert [(one.role, one.text) for one in turn.request] == [
        ("system", "Be brief."),
        ("user", "Where is it?"),
    ]
    assert (turn.tool_calls[0].name, turn.finish) == ("track", "tool_calls")
    assert (turn.usage.prompt_tokens, turn.usage.answer_tokens) == (20, 4)


@pytest.mark.parametrize(
    "events",
    [
        [
            event("gen_ai.content.prompt", {"gen_ai.prompt": said("Where is it?")}),
            event("gen_ai.content.completion", {"gen_ai.completion": said("Here.", "assistant")}),
        ],
        [
            event("gen_ai.user.message", {"content": "Where is it?"}),
            event("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": '{"content": "Here."}'}),
        ],
        [
            event(
                "gen_ai.client.inference.operation.details",
                {
                    "gen_ai.input.messages": said("Where is it?"),
                    "gen_ai.output.messages": said("Here.", "assistant"),
                },
            )
        ],
    ],
    ids=["content events", "message events", "details"],
)
def test_content_in_events_is_found(events: list[Any]) -> None:
    bare = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    (turn,) = traced(span(bare, events=events)).turns
    assert (turn.request[0].text, turn.answer) == ("Where is it?", "Here.")


def test_a_call_whose_content_was_not_captured_is_still_a_turn() -> None:
    (turn,) = traced(span({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"})).turns
    assert (turn.request, turn.answer, turn.latency) == ((), "", 1.5)
    assert turn.capture is Capture.METADATA  # nobody may take its silence for an answer


def test_structured_content_and_several_answers_are_understood() -> None:
    told = {
        **CHAT,
        "gen_ai.input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": "Where?"}]},
            {
                "role": "assistant",
                "parts": [{"type": "tool_call", "id": "c", "name": "track", "arguments": {"a": 1}}],
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c", "response": "Lyon"}]},
        ],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Lyon."}],
            },
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "France."}],
                "finish_reason": "length",
            },
        ],
    }
    one, other = traced(span(told)).turns
    assert (one.answer, other.answer) == ("Lyon.", "France.")
    assert (other.index, other.sibling_of, other.finish) == (1, one.id, "length")
    assert one.request[1].tool_calls[0].arguments == '{"a":1}'
    assert (one.request[2].role, one.request[2].text, one.request[2].tool_call_id) == ("tool", "Lyon", "c")


def test_a_failed_call_says_so() -> None:
    (turn,) = traced(span({**CHAT, "error.type": "timeout"})).turns
    assert turn.finish == "error"


def test_characters_that_no_database_takes_are_replaced() -> None:
    (turn,) = traced(span({**CHAT, "gen_ai.output.messages": said("a\0b", "assistant")})).turns
    assert turn.answer == "a\ufffdb"


# -- OpenTelemetry: who, to whom, in answer to what ----------------------------------------------------------


def agent(name: str, id: str, **more: Any) -> dict[str, Any]:
    return span({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}, id=id, **more)


CALLS = {
    **CHAT,
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"t"}]}]',
}


def test_an_agent_inside_an_agent_answers_the_outer_one() -> None:
    found = traced(
        agent("boss", "1" * 16, seconds=10),
        span(CALLS, parent="1" * 16, at=0, seconds=1),
        agent("clerk", "2" * 16, parent="1" * 16, at=2, seconds=3),
        span(CALLS, parent="2" * 16, at=2, seconds=1),
        span(parent="2" * 16, at=4, seconds=1),
        span(parent="1" * 16, at=6, seconds=1),
    )
    assert spoken(found) == [("boss", "clerk"), ("clerk", "clerk"), ("clerk", "boss"), ("boss", "user")]
    turns = sorted(found.turns, key=lambda turn: turn.at)
    assert [turn.parent for turn in turns] == [None, turns[0].id, turns[1].id, turns[2].id]


def test_agents_side_by_side_do_not_answer_each_other() -> None:
    found = traced(
        agent("boss", "1" * 16, seconds=10),
        span(CALLS, id="b" * 16, parent="1" * 16, at=0, seconds=1),
        agent("left", "2" * 16, parent="1" * 16, at=2, seconds=4),
        agent("right", "3" * 16, parent="1" * 16, at=2, seconds=4),
        span(CALLS, id="c" * 16, parent="2" * 16, at=2, seconds=1),
        span(CALLS, id="d" * 16, parent="3" * 16, at=2, seconds=0.5),
        span(id="e" * 16, parent="2" * 16, at=4, seconds=1),
        span(id="f" * 16, parent="3" * 16, at=4, seconds=1),
    )
    parents = {turn.id[-16:]: turn.parent and turn.parent[-16:] for turn in found.turns}
    assert parents == {
        "b" * 16: None,
        "c" * 16: "b" * 16,
        "d" * 16: "b" * 16,
        "e" * 16: "c" * 16,
        "f" * 16: "d" * 16,
    }


def test_a_handoff_says_to_whom() -> None:
    found = traced(
        agent("triage", "1" * 16, seconds=3),
        span(CALLS, parent="1" * 16, at=0, seconds=1),
        span({}, name="handoff to billing", parent="1" * 16, at=2, seconds=0),
    )
    assert spoken(found) == [("triage", None)]  # only a tool of OpenInference is called so
    kind = {"openinference.span.kind": "TOOL"}
    found = traced(
        agent("triage", "1" * 16, seconds=3),
        span(CALLS, parent="1" * 16, at=0, seconds=1),
        span(kind, name="handoff to billing", parent="1" * 16, at=2, seconds=0),
    )
    assert spoken(found) == [("triage", "billing")]


def test_a_graphs_nodes_say_to_whom() -> None:
    llm = {"openinference.span.kind": "LLM", "llm.model_name": "m", "output.value": "Yes."}
    node = {"openinference.span.kind": "AGENT"}
    found = traced(
        span({**node, "graph.node.id": "plan"}, id="1" * 16, seconds=2),
        span(llm, parent="1" * 16, at=0, seconds=1),
        span({**node, "graph.node.id": "act", "graph.node.parent_id": "plan"}, id="2" * 16, at=3),
        span(llm, parent="2" * 16, at=3, seconds=1),
    )
    assert spoken(found) == [("plan", "act"), ("act", "user")]


NESTED = (
    agent("boss", "1" * 16, seconds=10),
    span(CALLS, id="b" * 16, parent="1" * 16, at=0, seconds=1),
    span({}, id="9" * 16, parent="1" * 16, at=2, seconds=5),
    agent("clerk", "2" * 16, parent="9" * 16, at=2, seconds=3.5),
    span(CALLS, id="c" * 16, parent="2" * 16, at=2, seconds=1),
    span(id="d" * 16, parent="2" * 16, at=4, seconds=1),
    span(id="e" * 16, parent="1" * 16, at=8, seconds=1),
)
HANDED = (
    agent("triage", "1" * 16, seconds=3),
    span({**CALLS, "gen_ai.output.messages": said("To billing.", "assistant")}, id="b" * 16, parent="1" * 16),
    span({"gen_ai.handoff.to_agent": "billing"}, id="9" * 16, parent="1" * 16, at=2, seconds=0),
    agent("billing", "2" * 16, at=4, seconds=4),
    span(id="c" * 16, parent="2" * 16, at=5, seconds=1),
)


@pytest.mark.parametrize("spans", [NESTED, HANDED], ids=["nested", "handed over"])
@pytest.mark.parametrize("together", [1, 2, 3])
def test_a_trace_told_bit_by_bit_is_in_the_end_what_it_is_when_told_at_once(
    spans: Sequence[dict[str, Any]], together: int
) -> None:
    """As exporters do: each span when it ends, so that an agent comes long after its calls."""

    def shape(turns: Iterable[Turn]) -> list[tuple[str, ...]]:
        return sorted((one.id, one.agent, str(one.parent), str(one.addressee), one.policy) for one in turns)

    record: dict[TurnId, Turn] = {}
    in_time = sorted(spans, key=lambda one: int(one["endTimeUnixNano"]))
    batches = [in_time[start : start + together] for start in range(0, len(in_time), together)]
    for batch in [*batches, batches[0]]:  # and the first one again, at the end
        found = genai.read(wire.of_json(otlp(*batch))[0], READING, before=record.values())
        record |= {one.id: one for one in found.turns} | {new.id: new for _, new in found.mended}
    assert shape(record.values()) == shape(traced(*spans).turns)


def test_parents_in_a_circle_and_missing_ones_are_no_trouble() -> None:
    found = traced(
        span(id="1" * 16, parent="2" * 16),
        span(id="2" * 16, parent="1" * 16),
        span(id="3" * 16, parent="9" * 16),
    )
    assert len(found.turns) == 3


def test_thousands_of_agents_within_agents_are_read_in_a_moment() -> None:
    ids = [f"f{n:015x}" for n in range(5000)]
    nested = [agent(f"a{n}", id, parent=ids[n - 1] if n else None) for n, id in enumerate(ids)]
    found = traced(*nested, *(span(parent=id, at=n, seconds=0.5) for n, id in enumerate(ids)))
    assert len(found.turns) == 5000


def test_what_an_evaluator_asks_its_judge_is_nobodys_turn() -> None:
    found = traced(
        span({"openinference.span.kind": "EVALUATOR"}, id="1" * 16),
        span(parent="1" * 16),
        span(trace="b" * 32),
    )
    assert len(found.turns) == 1


def test_names_that_people_chose_become_ids() -> None:
    assert elsewhere.named("Triage Agent", "agent") == "Triage-Agent"
    assert elsewhere.named("客服", "agent").startswith("agent-")
    assert elsewhere.named("a/b:c@d.e", "agent") == "a/b:c@d.e"
    assert elsewhere.foreign("otlp", "x" * 200).startswith("otlp:")
    assert len(elsewhere.foreign("otlp", "x" * 200)) < 60
    with pytest.raises(InvalidInput):
        elsewhere.named(" ", "agent")


# -- what people think of it ---------------------------------------------------------------------------------


def judged(**given: Any) -> Form:
    return form_of(Opinion(**{"target": Target(), "mark": "1", "at": BEGAN, "name": "quality", **given}))


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({"score": 0.25}, Rating(value=0.25, low=0, high=1, aspect="quality")),
        ({"score": 4, "metadata": {"min": 1, "max": 5}}, Rating(value=4, low=1, high=5, aspect="quality")),
        ({"name": "toxicity", "score": 0.75}, Rating(value=0.25, low=0, high=1, aspect="toxicity")),
        ({"score": 1, "metadata": {"higher_is_better": False}}, Rating(value=0, low=0, high=1, aspect="quality")),
        ({"label": "correct"}, Rating(value=1, low=0, high=1, aspect="quality")),
        ({"name": "hallucination", "label": "hallucinated"}, Rating(value=0, low=0, high=1, aspect="hallucination")),
        ({"name": "User Feedback", "score": 1}, Thumbs(up=True)),
        ({"name": "thumbs", "score": 0}, Thumbs(up=False)),
        ({"name": "thumbs", "score": -1}, Thumbs(up=False)),
        ({"name": "user_feedback", "label": "thumbs-down", "score": 1}, Thumbs(up=False)),
        ({"name": "feedback", "label": "👍"}, Thumbs(up=True)),
        ({"name": "task_success", "score": 0.8}, Completion(completed=True, quality=0.8)),
        ({"name": "resolved", "label": "no"}, Completion(completed=False)),
        ({"name": "flag", "label": "rude"}, Flag(reason="rude")),
        ({"kind": "HUMAN", "explanation": "Too long."}, Flag(reason="Too long.")),
        ({"form": "correction", "label": "Better."}, Correction(text="Better.")),
    ],
)  # fmt: skip
def test_a_judgement_is_the_form_that_it_plainly_is(given: dict[str, Any], form: Form) -> None:
    assert judged(**given) == form


@pytest.mark.parametrize(
    "given",
    [
        {"score": 7},
        {"score": 9, "metadata": {"min": 1, "max": 5}},
        {"label": "so-so"},
        {"kind": "LLM", "explanation": "It seems fine."},
        {},
    ],
)
def test_what_could_be_good_or_bad_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        judged(**given)


def about(found: Found) -> list[tuple[str | None, str | None]]:
    return [(one.turn, one.episode) for one in found.feedback]


def test_feedback_is_about_what_its_span_links_to() -> None:
    found = traced(span(annotation("quality", score=1), trace="b" * 32, links=[("a" * 32, "1" * 16)]))
    assert about(found) == [(f"otlp:{'a' * 32}:{'1' * 16}", f"otlp:{'a' * 32}")]


def test_feedback_may_be_about_a_session_a_trace_or_an_answer() -> None:
    kind = {"openinference.span.kind": "EVALUATOR"}
    quality: dict[str, Any] = {"score": 1, "word": "evaluation"}
    session = span({**kind, "session.id": "s1", **annotation("quality", **quality)})
    assert about(traced(session)) == [(None, "otlp:session:s1")]
    scoped = span({"session.id": "s1", **annotation("quality", scope="session.", score=1)}, trace="c" * 32)
    assert about(traced(scoped)) == [(None, "otlp:session:s1")]
    trace = span(annotation("quality", scope="trace.", score=1), links=[("b" * 32, "1" * 16)])
    assert about(traced(trace)) == [(None, f"otlp:{'b' * 32}")]
    answer = span({"gen_ai.response.id": "turn_1", **annotation("quality", score=1)})
    assert about(traced(answer)) == [("turn_1", None)]
    here = span({**CHAT, "gen_ai.response.id": "chatcmpl-1"}, id="5" * 16, trace="d" * 32)
    ((turn, _),) = about(
        traced(here, span({"gen_ai.response.id": "chatcmpl-1", **annotation("quality", score=1)}))
    )
    assert turn == f"otlp:{'d' * 32}:{'5' * 16}"


def test_an_evaluation_event_is_about_the_span_that_it_is_on() -> None:
    result = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.5}
    found = traced(span(id="1" * 16, events=[event("gen_ai.evaluation.result", result)]))
    (one,) = found.feedback
    assert (one.turn, one.said) == (found.turns[0].id, Rating(value=0.5, low=0, high=1, aspect="relevance"))
    assert one.source is Source.DIRECT


def test_the_same_judge_on_the_same_span_has_the_same_id_and_another_has_another() -> None:
    def ids(identifier: str | None, carrier: str) -> str:
        told = annotation("quality", score=1, **({"identifier": identifier} if identifier else {}))
        made = traced(span(told, id=carrier, trace="b" * 32, links=[("a" * 32, "1" * 16)]))
        return made.feedback[0].id

    assert ids("rita", "1" * 16) == ids("rita", "2" * 16)
    assert ids("rita", "1" * 16) != ids("omar", "1" * 16)
    assert ids(None, "1" * 16) != ids(None, "2" * 16)


def test_bad_feedback_on_a_call_does_not_lose_the_call() -> None:
    found = traced(span({**CHAT, "annotations.0.annotation.score": 1}))
    assert len(found.turns) == 1
    assert "has no name" in found.problems[0].reason


# -- much of it ----------------------------------------------------------------------------------------------


def test_spans_of_one_trace_are_gathered_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "SPANS", 10)
    mixed = [Span(trace=f"t{n % 3}", id=str(n), name="", where="") for n in range(30)]
    parts = list(gathered((one, 1) for one in mixed))
    assert sum(map(len, parts)) == 30
    assert max(map(len, parts)) <= 10
    few = list(gathered((one, 1) for one in mixed[:9]))
    assert [[one.trace for one in part] for part in few] == [["t0"] * 3 + ["t1"] * 3 + ["t2"] * 3]


def test_a_list_in_a_line_is_its_pieces() -> None:
    problems: list[Problem] = []
    found = list(items.items([("line 1", b"[1,2]"), ("line 2", b"{"), ("line 3", b" ")], problems))
    assert [(one.where, one.value) for one in found] == [("line 1, item 1", 1), ("line 1, item 2", 2)]
    assert [one.where for one in problems] == ["line 2"]


WORDS = st.sampled_from(
    [
        *(
            "id",
            "traceId",
            "trace_id",
            "type",
            "observations",
            "scores",
            "data",
            "input",
            "output",
            "name",
            "value",
        ),
        *(
            "messages",
            "role",
            "content",
            "choices",
            "message",
            "request",
            "response",
            "custom_id",
            "body",
            "model",
        ),
        *(
            "context",
            "span_id",
            "attributes",
            "annotator_kind",
            "result",
            "start_time",
            "startTime",
            "timestamp",
        ),
        *(
            "sessionId",
            "observationId",
            "stringValue",
            "dataType",
            "source",
            "metadata",
            "usage",
            "tool_calls",
        ),
        *(
            "created",
            "session_id",
            "events",
            "annotations",
            "llm",
            "input_messages",
            "kwargs",
            "parts",
            "stop",
        ),
    ]
)
LEAVES = st.sampled_from(
    [
        *(None, True, 0, -1, 1e300, 2**62, "", "x", "GENERATION", "AGENT", "LLM", "user", "assistant", "[["),
        *('["a"]', "2026-05-01T09:00:00Z", "{}", '"q"', "text", "tool_use", "tool_result", "image_url"),
        *("CORRECTION", "BOOLEAN", "EVALUATOR", "thumbs", "function_call"),
    ]
)
RECORDS = st.recursive(
    LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(WORDS, one, max_size=6), max_leaves=30
)


@pytest.mark.parametrize(
    "how", [openai_jsonl, langfuse, phoenix], ids=lambda how: how.__name__.split(".")[-1]
)
@settings(max_examples=150)
@given(records=st.lists(st.dictionaries(WORDS, RECORDS, max_size=10), max_size=4))
def test_no_record_stops_a_reader(how: Any, records: list[Any]) -> None:
    """Each is used, or is a problem."""
    for part in how.read([Item(f"line {n}", one, 1) for n, one in enumerate(records)], READING):
        assert isinstance(part, Found)
