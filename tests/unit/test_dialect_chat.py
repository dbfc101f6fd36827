"""Chat completions: what comes from servers is read, checked and put together again without loss."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_message, make_policy
from heedful.dialect import chat
from heedful.dialect.chat import Gathered, answers_of, checked, chunks_of, merged, message_wire, messages_of
from heedful.domain.content import Answer, Message, Role, Sampling, TextPart, Tokens, ToolCall
from heedful.domain.models import External
from heedful.errors import Unavailable

Json = Any
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SOME = WORDS.filter(bool)
NUMBERS = st.floats(-50, 0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def replies(draw: st.DrawFn) -> dict[str, Json]:
    return {
        "id": draw(SOME),
        "model": draw(SOME),
        "service_tier": "default",
        "object": "chat.completion",
        "choices": [choice(draw, index) for index in range(draw(st.integers(1, 3)))],
        "usage": {"prompt_tokens": draw(st.integers(1, 9)), "completion_tokens": draw(st.integers(1, 9))},
    }


def choice(draw: st.DrawFn, index: int) -> dict[str, Json]:
    message: dict[str, Json] = {"role": "assistant", "content": draw(WORDS)}
    if draw(st.booleans()):
        message["reasoning_content"] = draw(SOME)
    calls = st.builds(call, WORDS, WORDS)
    if made := draw(st.lists(calls, max_size=3)):
        message["tool_calls"] = [{**one, "id": f"call_{place}"} for place, one in enumerate(made)]
    made_choice: dict[str, Json] = {
        "index": index,
        "message": message,
        "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls"])),
    }
    tokens = draw(st.lists(NUMBERS, max_size=4))
    if tokens and (message["content"] or "reasoning_content" in message):
        made_choice["logprobs"] = {
            "content": [{"token": "x", "logprob": one, "bytes": None, "top_logprobs": []} for one in tokens],
            "refusal": None,
        }
        made_choice["token_ids"] = list(range(len(tokens)))
    return made_choice


def call(name: str, arguments: str) -> dict[str, Json]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def reply(**more: Json) -> dict[str, Json]:
    message = {"role": "assistant", "content": "Hello"}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}


def chunk(**delta: Json) -> dict[str, Json]:
    return {"choices": [{"index": 0, "delta": delta}]}


# -- replies ----------------------------------------------------------------------------------------------


@given(replies())
def test_a_reply_in_pieces_is_the_reply_when_it_is_put_together(whole: dict[str, Json]) -> None:
    gathered = Gathered(n=len(whole["choices"]))
    for one in chunks_of(whole):
        gathered.take(one)
    assert gathered.reply() == whole
    assert answers_of(gathered.reply()) == answers_of(checked(whole, n=len(whole["choices"])))


@given(st.lists(st.builds(Answer, text=SOME, finish=SOME, answer_tokens=st.integers(1, 9)), min_size=1))
def test_answers_of_our_own_engines_survive_the_wire(answers: list[Answer]) -> None:
    back = answers_of(checked(chat.reply_of(answers), n=len(answers)))
    assert [(one.text, one.finish) for one in back] == [(one.text, one.finish) for one in answers]


def test_tokens_survive_the_wire() -> None:
    answer = Answer(
        text="a", finish="stop", tokens=Tokens(ids=(7, 8), logprobs=(-0.5, -1.0)), answer_tokens=2
    )
    assert answers_of(chat.reply_of([answer])) == [answer]


def test_parts_in_place_of_text_are_recorded_as_their_text() -> None:
    parts = [
        {"type": "thinking", "thinking": []},
        {"type": "text", "text": "Hel"},
        {"type": "text", "text": "lo"},
    ]
    message = {"role": "assistant", "content": parts}
    whole = checked({"choices": [{"index": 0, "message": message}]}, n=1)
    assert answers_of(whole)[0].text == "Hello"
    gathered = Gathered()
    gathered.take(chunk(content=parts))
    assert answers_of(gathered.reply())[0].text == "Hello"


def test_what_no_database_can_keep_is_left_out_of_the_record() -> None:
    message = {"content": "a\0b", "tool_calls": [{**call("f\0", "{\0"), "id": "\0"}]}
    (answer,) = answers_of(checked({"choices": [{"message": message, "finish_reason": "st\0p"}]}, n=1))
    assert "\0" not in repr(answer)
    assert answer.text == "a\ufffdb"


@given(JSON)
def test_any_json_is_a_reply_or_is_refused(value: Json) -> None:
    tried(value)


PLACES: list[tuple[str | int, ...]] = [
    (), ("choices",), ("choices", 0), ("choices", 0, "index"), ("choices", 0, "message"),
    ("choices", 0, "message", "content"), ("choices", 0, "message", "refusal"),
    ("choices", 0, "message", "tool_calls"), ("choices", 0, "message", "tool_calls", 0),
    ("choices", 0, "message", "tool_calls", 0, "id"), ("choices", 0, "message", "tool_calls", 0, "index"),
    ("choices", 0, "message", "tool_calls", 0, "type"), ("choices", 0, "message", "tool_calls", 0, "function"),
    ("choices", 0, "message", "tool_calls", 0, "custom"),
    ("choices", 0, "message", "tool_calls", 0, "function", "name"),
    ("choices", 0, "message", "tool_calls", 0, "function", "arguments"),
    ("choices", 0, "finish_reason"), ("choices", 0, "logprobs"), ("choices", 0, "logprobs", "content"),
    ("choices", 0, "logprobs", "content", 0), ("choices", 0, "logprobs", "content", 0, "logprob"),
    ("choices", 0, "logprobs", "content", 0, "token_id"), ("choices", 0, "token_ids"),
    ("usage",), ("usage", "prompt_tokens"), ("usage", "completion_tokens"), ("usage", "prompt_tokens_details"),
]  # fmt: skip


def filled(under: str) -> dict[str, Json]:
    """A reply or chunk with something in every place."""
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72], "token_id": 1, "top_logprobs": []}
    words = {"role": "assistant", "content": "Hi", "tool_calls": [{**call("f", "{}"), "id": "c", "index": 0}]}
    return {
        "choices": [
            {
                "index": 0,
                under: words,
                "finish_reason": "stop",
                "logprobs": {"content": [token]},
                "token_ids": [1],
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}},
    }


def changed(whole: Json, place: tuple[str | int, ...], value: Json) -> Json:
    if not place:
        return value
    at = whole
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return whole


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)) or "all")
@given(value=JSON)
def test_any_json_in_any_place_is_a_reply_or_is_refused(place: tuple[str | int, ...], value: Json) -> None:
    tried(changed(filled("message"), place, value))
    gathered, there = Gathered(), tuple("delta" if step == "message" else step for step in place)
    one = changed(filled("delta"), there, value)
    if isinstance(one, dict):  # nothing else gets out of an adapter
        try:
            gathered.take(one)
        except Unavailable:
            assert gathered.reply()["choices"] == []
    sound(answers_of(gathered.reply()))


def tried(value: Json) -> None:
    try:
        whole = checked(value, n=1)
    except Unavailable:
        return
    sound(answers_of(whole))


def sound(answers: list[Answer]) -> None:
    """Every field is what its type says."""
    for one in answers:
        assert isinstance(one.text, str)
        assert isinstance(one.finish, str)
        assert all(isinstance(part, str) for c in one.tool_calls for part in (c.id, c.name, c.arguments))
        assert all(count is None or type(count) is int for count in (one.prompt_tokens, one.answer_tokens))
        if one.tokens is not None:
            assert all(type(id) is int for id in one.tokens.ids)
            assert all(type(logprob) is float for logprob in one.tokens.logprobs)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"choices": None}, "choices"),
        ({"choices": "Hello"}, "choices"),
        ({"choices": [None]}, "choices.0"),
        ({"choices": [{"message": None}]}, "choices.0.message"),
        ({"choices": [{"message": {"content": 5}}]}, "choices.0.message.content"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": 7}]}, "choices.0.finish_reason"),
        ({"choices": [{"message": {"tool_calls": [{"function": None}]}}]}, "choices.0.message.tool_calls"),
        (reply(usage={"prompt_tokens": -1}), "usage.prompt_tokens"),
        (reply(usage={"completion_tokens": True}), "usage.completion_tokens"),
    ],
)
def test_what_is_wrong_with_a_reply_is_said(wrong: Json, where: str) -> None:
    with pytest.raises(Unavailable, match=rf"no chat completion \({where} is wrong\)"):
        checked(wrong, n=1)


@pytest.mark.parametrize("odd", ["yes", 5, {"content": 5}, {"content": [{"token": "a"}]}, {"tokens": ["a"]}])
def test_odd_logprobs_cost_no_answer(odd: Json) -> None:
    whole = reply()
    whole["choices"][0]["logprobs"] = odd
    (answer,) = answers_of(checked(whole, n=1))
    assert (answer.text, answer.tokens) == ("Hello", None)


# -- streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [-1, 1, 10**9, "0", True, 0.5, [0]])
def test_an_answer_that_nobody_asked_for_is_refused(index: Json) -> None:
    with pytest.raises(Unavailable, match=r"choices.0.index is wrong"):
        Gathered(n=1).take({"choices": [{"index": index, "delta": {"content": "x"}}]})


def test_calls_of_a_server_that_does_not_number_them_stay_apart() -> None:
    for number in ({"index": 0}, {}, {"index": None}):
        gathered = Gathered()
        for id, words in (("a", '{"x"'), (None, ":1}"), ("b", "{}")):
            inner = {"name": "f" if id else None, "arguments": words}
            gathered.take(chunk(tool_calls=[{"id": id, "function": inner, **number}]))
        (answer,) = answers_of(gathered.reply())
        assert [(one.id, one.name, one.arguments) for one in answer.tool_calls] == [
            ("a", "f", '{"x":1}'),
            ("b", "f", "{}"),
        ]


def test_many_small_pieces_cost_no_more_than_their_number() -> None:
    gathered, begun = Gathered(), time.process_time()
    for _ in range(30_000):
        gathered.take(chunk(content="x" * 200))
    assert len(gathered.reply()["choices"][0]["message"]["content"]) == 6_000_000
    assert time.process_time() - begun < 3.0


# -- requests ---------------------------------------------------------------------------------------------

PARTS = st.lists(st.builds(TextPart, text=SOME), min_size=1, max_size=3)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(Role),
    content=WORDS,
    name=st.none() | SOME,
    tool_calls=st.lists(st.builds(ToolCall, id=SOME, name=SOME, arguments=WORDS), max_size=2).map(tuple),
    tool_call_id=st.none() | SOME,
)


@given(MESSAGES)
def test_a_message_survives_the_wire(message: Message) -> None:
    (back,) = messages_of([message_wire(message)])
    assert (back.text, back.role, back.name, back.tool_calls, back.tool_call_id) == (
        message.text,
        message.role,
        message.name,
        message.tool_calls,
        message.tool_call_id,
    )


@given(PARTS)
def test_parts_survive_as_their_text(parts: list[TextPart]) -> None:
    message = Message(role=Role.USER, content=tuple(parts))
    assert messages_of([message_wire(message)])[0].text == message.text


def test_a_request_wins_over_the_policy_and_null_says_nothing() -> None:
    usual = Sampling(temperature=0.7, max_tokens=9, seed=1, stop=("\n",), extra={"top_k": 3})
    asked: dict[str, Any] = {
        "messages": [],
        "temperature": None,
        "seed": 2,
        "max_completion_tokens": 5,
        "heedful": {"user": "u"},
    }
    assert merged(asked, usual) == {
        "messages": [], "temperature": 0.7, "seed": 2, "max_completion_tokens": 5, "stop": ["\n"], "top_k": 3
    }  # fmt: skip


def test_a_hosted_models_prompt_goes_in_front() -> None:
    own = Message(role=Role.SYSTEM, content="Be kind.")
    policy = make_policy(body=External(upstream="hosted", model="m1", prompt=(own,)))
    whole = chat.for_policy({"model": "agent", "messages": [message_wire(make_message("Hi"))]}, policy)
    assert whole["model"] == "m1"
    assert [one["content"] for one in whole["messages"]] == ["Be kind.", "Hi"]


@pytest.mark.parametrize(("stop", "kept"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b"))])
def test_how_an_answer_was_asked_for_is_recorded(stop: Json, kept: tuple[str, ...]) -> None:
    asked = {"model": "m", "messages": [], "stop": stop, "max_tokens": 4, "top_k": 3, "n": 2, "stream": True}
    assert chat.sampling_of(asked) == Sampling(max_tokens=4, stop=kept, extra={"top_k": 3})
