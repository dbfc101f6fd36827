"""Several judges as one: what each counts for, and what it leaves to the others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from heedful.errors import HeedfulError, InvalidInput, Misconfigured
from heedful.rewards import mixture
from heedful.rewards.mixture import Mixture, MixtureSettings

FUNCTIONS = """
def told(completions, column="first", **columns):
    return columns["first"]

def second(completions, second, **columns):
    return second

def third(completions, third, **columns):
    return third

calls = []
def counted(completions):
    calls.append(len(completions))
    return [float(len(calls))] * len(completions)
"""
FIRST, SECOND, THIRD = ({"function": f"parts_of_this_test:{name}"} for name in ("told", "second", "third"))


@pytest.fixture(scope="module", autouse=True)
def functions(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "parts_of_this_test.py").write_text(FUNCTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        mixed({"source": FIRST})


def mixed(*parts: dict[str, Any], folder: Path = Path(), **rest: Any) -> Mixture:
    named = [{"name": name, **part} for name, part in zip(("a", "b", "c"), parts, strict=False)]
    return Mixture(MixtureSettings.model_validate({"parts": named, **rest}), folder)


def scored(
    mixture: Mixture, *, prompts: list[Any] | None = None, **columns: list[float | None]
) -> dict[str, list[float]]:
    count = len(next(iter(columns.values())))
    scores = mixture.score(prompts or ["p"] * count, ["x"] * count, columns)
    return {name: values.tolist() for name, values in scores.items()}


def test_quality_is_the_weighted_mean_of_the_parts() -> None:
    """(1 * 1 + 3 * 3) / 4 and (1 * 2 - 3 * 2) / 4."""
    both = mixed({"source": FIRST}, {"source": SECOND, "weight": 3})
    found = scored(both, first=[1, 2], second=[3, -2])
    assert found == {
        "a": [1, 2],
        "b": [3, -2],
        "quality": [2.5, -1],
        "violation": [0, 0],
        "unscored": [0, 0],
    }


def test_a_part_with_nothing_to_say_drops_out_of_the_mean() -> None:
    both = mixed({"source": FIRST}, {"source": SECOND, "weight": 3})
    found = scored(both, first=[1, None, None], second=[None, 3, None])
    assert found["quality"] == [1, 3, 0]
    assert found["unscored"] == [0, 0, 1]
    assert np.isnan(found["a"]).tolist() == [False, True, True]


def test_a_broken_bound_is_a_violation() -> None:
    both = mixed({"source": FIRST, "at_least": 0, "at_most": 1}, {"source": SECOND})
    found = scored(both, first=[0, 1, -0.1, 1.1, None], second=[0] * 5)
    assert found["violation"] == [0, 0, 1, 1, 0]


def test_a_bound_with_a_price_costs_quality() -> None:
    both = mixed({"source": FIRST, "weight": 0, "at_least": 1, "price": 5}, {"source": SECOND})
    found = scored(both, first=[1, 0, None], second=[3, 3, 3])
    assert found["quality"] == [3, -2, 3]
    assert found["violation"] == [0, 0, 0]


def test_the_worst_violation_counts() -> None:
    parts = [{"source": SECOND, "objective": "violation"}, {"source": THIRD, "objective": "violation"}]
    found = scored(
        mixed({"source": FIRST}, *parts), first=[1] * 3, second=[0.2, 0.9, None], third=[0.5, 0, None]
    )
    assert found["violation"] == [0.5, 0.9, 0]
    assert found["quality"] == [1, 1, 1]


def test_a_violation_is_a_probability() -> None:
    both = mixed({"source": FIRST}, {"source": SECOND, "objective": "violation"})
    with pytest.raises(InvalidInput, match=r"part b says 1\.5 about answer 2: a violation is a probability"):
        scored(both, first=[1, 1], second=[0, 1.5])


def test_in_deviations_of_the_group() -> None:
    """Group p is 1, 3 (mean 2, deviation 1) with one that has nothing to say; in q all are the same."""
    one = mixed({"source": FIRST, "normalise": "group", "at_least": 0})
    found = scored(one, prompts=["p", "q", "p", "q", "p"], first=[1, 7, 3, 7, None])
    assert found["quality"] == [-1, 0, 1, 0, 0]
    assert found["unscored"] == [0, 0, 0, 0, 1]
    assert found["a"][:4] == [1, 7, 3, 7]


def test_groups_are_told_apart_by_conversations() -> None:
    one = mixed({"source": FIRST, "normalise": "group"})
    p, q = ([{"role": "user", "content": word}] for word in "pq")
    assert scored(one, prompts=[p, q, p, q], first=[0, 10, 2, 30])["quality"] == [-1, -1, 1, 1]


def test_in_deviations_of_the_reference(tmp_path: Path) -> None:
    """The reference's 2, 4 have the mean 3 and the deviation 1; a row without the column has nothing to say."""
    rows = [{"prompt": "p", "answer": "x", "first": first} for first in (2, 4)] + [
        {"prompt": "p", "answer": ""}
    ]
    (tmp_path / "reference.jsonl").write_text("\n".join(map(json.dumps, rows)))
    part = {"source": FIRST, "normalise": "reference"}
    for _ in range(2):  # it does not depend on what was scored before
        one = mixed(part, folder=tmp_path, reference="reference.jsonl")
        assert scored(one, first=[3, 5, 0])["quality"] == [0, 2, -3]
        assert scored(one, first=[100])["quality"] == [97]


def test_a_reference_that_does_not_vary_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "answer": "x", "first": 2}] * 3
    (tmp_path / "reference.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InvalidInput, match=r"part a: 3 answers of .* all the same"):
        mixed({"source": FIRST, "normalise": "reference"}, folder=tmp_path, reference="reference.jsonl")


def test_one_source_is_asked_once_however_many_parts_it_has() -> None:
    import parts_of_this_test as functions  # type: ignore[import-not-found]

    functions.calls.clear()
    source = {"function": "parts_of_this_test:counted"}
    found = mixed({"source": source}, {"source": source, "weight": 0, "at_most": 0}).score(
        ["p"] * 3, ["x"] * 3
    )
    assert functions.calls == [3]
    assert found["violation"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "parts"),
        ([{"source": {"function": "x:y"}, "objective": "violation"}], "no part says what is good"),
        ([{"source": {"function": "x:y"}, "weight": 0}], "no part says what is good"),
        ([{"source": {"function": "x:y"}, "weight": -1}], "weight"),
        ([{"source": {"function": "x:y"}, "normalise": "reference"}], "a: `normalise: reference` needs"),
        ([{"source": {"function": "x:y"}, "price": 1}], "a price needs a bound"),
        ([{"source": {"function": "x:y"}, "objective": "violation", "weight": 2}], "it has no weight"),
        ([{"source": {"function": "x:y"}, "name": "quality"}], "take another"),
        (
            [{"source": {"function": "x:y"}, "name": "b"}, {"source": {"function": "x:y"}}],
            "two parts are called b",
        ),
        ([{"source": {"function": "x:y", "comand": "z"}}], "comand"),
        (
            [{"source": {"check": "lenght"}}],
            "say `model`, `function`, `command`, or `check` with one of schema",
        ),
        ([{"source": "x:y"}], "say `model`, `function`"),
        ([{"source": {"check": "length", "longst": 3}}], "longst"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(
    tmp_path: Path, parts: list[dict[str, Any]], words: str
) -> None:
    named = [{"name": name, **part} for name, part in zip(("a", "b"), parts, strict=False)]
    (tmp_path / "mixture.yaml").write_text(yaml.safe_dump({"parts": named}))
    with pytest.raises(InvalidInput, match=words) as refused:
        mixture.load(tmp_path / "mixture.yaml")
    assert "mixture.yaml" in str(refused.value)


def test_a_file_that_is_no_mixture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("parts: [")
    (tmp_path / "text.yaml").write_text("text")
    for name in ("nowhere.yaml", "odd.yaml", "text.yaml"):
        with pytest.raises(HeedfulError, match=name):
            mixture.load(tmp_path / name)


def test_all_kinds_of_sources_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "judge.sh").write_text("grep -q yes && echo 1 || echo 0")
    (tmp_path / "mixture.yaml").write_text(
        """
        parts:
          - {name: told, source: {function: "parts_of_this_test:told"}, weight: 2}
          - {name: agrees, source: {command: [sh, ./judge.sh]}}
          - {name: short, source: {check: length, longest: 2}, weight: 0, at_least: 1}
          - {name: excuses, source: {check: pattern, pattern: sorry}, objective: violation}
        sandbox: {seconds: 5, isolation: none}
        """
    )
    scores = mixture.load(tmp_path / "mixture.yaml").score(
        ["p"] * 3, ["yes", "no no no", "sorry yes"], {"first": [1, 2, 3]}
    )
    assert {name: values.tolist() for name, values in scores.items()} == {
        "told": [1, 2, 3],
        "agrees": [1, 0, 1],
        "short": [1, 0, 1],
        "excuses": [0, 0, 1],
        "quality": [1, 4 / 3, 7 / 3],
        "violation": [0, 1, 1],
        "unscored": [0, 0, 0],
    }


def test_a_reward_model_is_a_part(tmp_path: Path) -> None:
    from heedful.lm.tiny import TinyShape, make_tiny
    from heedful.rewards.leanings import Leanings
    from heedful.rewards.model import RewardModel

    shape = TinyShape(width=16, layers=1, heads=2, positions=32, vocabulary=300)
    model = RewardModel(make_tiny(["a b c"] * 3, shape=shape), objectives=["quality"])
    model.heads.call.weight.data.normal_()
    model.save(tmp_path / "judge", report={})
    prompts = [[{"role": "user", "content": "a"}]] * 3
    alone = model.score(prompts, ["a", "b", "c"])
    parts = ({"source": {"model": "judge"}, "weight": 3}, {"source": FIRST})
    found = mixed(*parts, folder=tmp_path).score(prompts, ["a", "b", "c"], {"first": [1.0, 2.0, None]})
    assert found["a"] == pytest.approx(alone["quality"])
    assert found["quality"][1] == pytest.approx((3 * alone["quality"][1] + 2) / 4)
    assert found["quality_action"] == pytest.approx(alone["quality_action"] * [0.75, 0.75, 1])
    width = model.seen(prompts, ["a", "b", "c"]).shape[1]
    model.leanings = Leanings({("segment", "odd"): np.append(np.zeros(width - 1), -2.0)}, np.zeros(width))
    model.save(tmp_path / "judge", report={})
    whose: dict[str, list[Any]] = {"segment": ["odd", "even", "odd"], "first": [1.0, 2.0, None]}
    turned = mixed(*parts, folder=tmp_path).score(prompts, ["a", "b", "c"], whose)["a"]
    assert turned == pytest.approx(alone["quality"] * [-1, 1, -1], abs=1e-5)
    with pytest.raises(Misconfigured, match=r"part b: its reward model knows .*quality.*, and no violation"):
        mixed(parts[1], {"source": {"model": "judge"}, "objective": "violation"}, folder=tmp_path).score(
            prompts, ["a", "b", "c"], {"first": [1.0] * 3}
        )


def test_the_page_shows_a_mixture_that_is_read() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "programmatic-rewards.md").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    settings = MixtureSettings.model_validate(yaml.safe_load(shown))
    assert [part.name for part in settings.parts] == ["liked", "tests", "right", "brief", "hints", "value"]
