"""Functions with the signature that TRL's trainers call."""

from __future__ import annotations

import numpy as np
import pytest

from heedful.errors import InvalidInput, Misconfigured, TrainingFailed
from heedful.rewards.programs import load

FUNCTIONS = """
import asyncio, re

# The shapes in which such functions are written.
def by_length(completions, **kwargs):
    return [float(len(completion)) for completion in completions]

def in_form(completions, **kwargs):
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(r"^<think>.*?</think><answer>.*?</answer>$", one) else 0.0 for one in contents]

def solved(completions, ground_truth, **kwargs):
    matches = [re.search(r"boxed\\{(.*?)\\}", completion) for completion in completions]
    contents = [match.group(1) if match else "" for match in matches]
    return [1.0 if content == truth else 0.0 for content, truth in zip(contents, ground_truth)]

def math_alone(prompts, completions, task, **kwargs):
    return [1.0 if kind == "math" else None for prompt, completion, kind in zip(prompts, completions, task)]

def short_in_tokens(completion_ids, **kwargs):
    return [-float(len(ids)) for ids in completion_ids]

async def later(prompts, completions, **kwargs):
    async def one(completion):
        await asyncio.sleep(0)
        return float(completion.startswith("y"))
    return await asyncio.gather(*map(one, completions))

class Named:
    async def __call__(self, completions, *, level=2.0):
        return [level] * len(completions)

named = Named()
nothing_more = lambda prompts, completions: [len(p) + len(c) for p, c in zip(prompts, completions)]

def arrays(completions):
    import numpy
    return numpy.arange(len(completions))

def truths(completions):
    return [True, False][: len(completions)]

def says_nan(completions): return [1.0, float("nan")]
def says_infinity(completions): return [float("-inf")] * len(completions)
def says_text(completions): return [0.5, "0.5"]
def says_little(completions): return [1.0]
def says_one(completions): return 1.0
def breaks(completions): raise KeyError("answer")
def by_position(completions, /): return []
"""


@pytest.fixture(scope="module", autouse=True)
def functions(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "functions_of_this_test.py").write_text(FUNCTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        load("functions_of_this_test:by_length")  # known from here on


def said(name: str, *answers: str, prompt: object = "what?", **columns: list[object]) -> list[float | None]:
    scores = load(f"functions_of_this_test:{name}").score([prompt] * len(answers), answers, columns)
    assert set(scores) == {"quality", "unscored"}
    assert all(values.dtype == np.float64 for values in scores.values())
    return [
        None if none else float(value)
        for value, none in zip(scores["quality"], scores["unscored"], strict=True)
    ]


def test_a_function_of_completions_gets_texts_for_texts() -> None:
    assert said("by_length", "four", "") == [4.0, 0.0]


def test_a_function_of_completions_gets_messages_for_messages() -> None:
    conversation = [{"role": "user", "content": "what?"}]
    good = "<think>hm</think><answer>3</answer>"
    assert said("in_form", good, "3", prompt=conversation) == [1.0, 0.0]


def test_columns_come_by_name() -> None:
    assert said("solved", r"\boxed{3}", r"\boxed{4}", ground_truth=["3", "3"]) == [1.0, 0.0]


def test_none_is_nothing_to_say() -> None:
    assert said("math_alone", "3", "x", task=["math", "code"]) == [1.0, None]


def test_tokens_come_where_they_are_known() -> None:
    assert said("short_in_tokens", "a", "b", completion_ids=[[1, 2], [3]]) == [-2.0, -1.0]


def test_an_async_function_is_waited_for() -> None:
    assert said("later", "yes", "no") == [1.0, 0.0]
    assert said("named", "yes", "no") == [2.0, 2.0]


def test_a_function_gets_only_what_it_asks_for() -> None:
    assert said("nothing_more", "ab", prompt="abc", other=[1]) == [5.0]


def test_other_kinds_of_numbers_are_numbers() -> None:
    assert said("arrays", "a", "b", "c") == [0.0, 1.0, 2.0]
    assert said("truths", "a", "b") == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("says_nan", r"reward function 'functions_of_this_test:says_nan' says nan about answer 2"),
        ("says_infinity", r"says -inf about answer 1"),
        ("says_text", r"says '0.5' about answer 2: a finite number, or None"),
        ("says_little", r"says 1 numbers for 2 answers"),
    ],
)
def test_what_is_no_number_is_refused_by_function_answer_and_value(name: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        said(name, "a", "b")


def test_a_function_that_breaks_is_named() -> None:
    with pytest.raises(
        TrainingFailed, match=r"'functions_of_this_test:breaks' failed on 2 answers: KeyError"
    ):
        said("breaks", "a", "b")
    with pytest.raises(TrainingFailed, match="'float' object is not iterable"):
        said("says_one", "a")


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"needs ground_truth: the data have task beside the prompt"):
        said("solved", "3", task=["math"])


def test_a_function_that_cannot_be_asked_is_refused_before_any_answer() -> None:
    for path in (
        "functions_of_this_test:by_position",
        "functions_of_this_test:nowhere",
        "nowhere:at_all",
        "text",
    ):
        with pytest.raises(Misconfigured):
            load(path)


def test_prompts_and_answers_come_in_pairs() -> None:
    with pytest.raises(InvalidInput, match="1 prompts for 2 answers"):
        load("functions_of_this_test:by_length").score(["a"], ["b", "c"])
