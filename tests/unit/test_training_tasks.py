"""The tasks that change weights: they learn, they stop in time, and the same spec gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from heedful.errors import InvalidInput, Misconfigured, TrainingFailed
from heedful.lm.decode import Sampler
from heedful.lm.load import load
from heedful.lm.records import read_records, rewrite, write_records
from heedful.rewards.sandbox import trouble
from heedful.training import grpo, ppo, practice, sft

SHAPE = {"width": 32, "layers": 2, "heads": 2, "positions": 48, "vocabulary": 320}
QUESTIONS = ("where is it", "it broke", "i want my money", "stop it")
ANSWERS = ("[a] yes of course.", "[b] no we can not.", "[a] no we can not.", "[b] yes of course.")

REWARDS = '''
import numpy as np

class Likes:
    def __init__(self, what): self.what = what
    def score(self, prompts, answers):
        assert len(prompts) == len(answers)
        return {"quality": np.array([float(self.what in answer) for answer in answers])}

class OneForAll:
    """Likes the very same answer to whatever is asked."""
    def score(self, prompts, answers):
        return {"quality": np.array([float(answer == "[a] yes of course.") for answer in answers])}

class Indifferent:
    def score(self, prompts, answers):
        return {"quality": np.zeros(len(answers)), "violation": np.full(len(answers), 0.5)}

class Split:
    """Likes [a] in the call and nothing else."""
    def score(self, prompts, answers):
        call = np.array([float(answer.startswith("[a]")) for answer in answers])
        return {"quality": call, "quality_action": call}

class Torn:
    def score(self, prompts, answers):
        return {"quality": np.zeros(len(answers)), "spread": np.full(len(answers), 0.25)}

class Forbidden:
    def score(self, prompts, answers):
        yes = np.array([float("yes" in answer) for answer in answers])
        return {"quality": yes, "violation": 0.05 + 0.9 * yes}

def torn(what): return Torn()
def forbidden(what): return Forbidden()
def likes(what): return Likes(what)
def one_for_all(what): return OneForAll()
def indifferent(what): return Indifferent()
def split(what): return Split()
'''


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


def demonstrations(path: Path) -> Path:
    random = Random(0)
    rows = (
        {"prompt": prompt(random.choice(QUESTIONS)), "answer": random.choice(ANSWERS)} for _ in range(300)
    )
    write_records(path, rows)
    return path


def prompt(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that says each of the four answers about equally often."""
    work = tmp_path_factory.mktemp("first")
    demonstrations(work / "demonstrations.jsonl")
    write_records(work / "prompts.jsonl", ({"prompt": prompt(question)} for question in QUESTIONS))
    spec = {"demonstrations": str(work / "demonstrations.jsonl"), "tiny": SHAPE, "steps": 80, "rate": 1e-2}
    sft.run(spec, work, silent)
    return work


@pytest.fixture
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "rewards_of_this_test.py").write_text(REWARDS, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return "rewards_of_this_test"


def spec(first: Path, reward: str, **rest: Any) -> dict[str, Any]:
    return {
        "model": str(first / "model"),
        "prompts": str(first / "prompts.jsonl"),
        "reward": reward,
        "reward_model": "yes",
        "batch": 8,
        "iterations": 5,
        "max_tokens": 10,
        "rate": 3e-3,
        "warmup": 1,
    } | rest


def share(model: str | Path, what: str) -> float:
    groups = Sampler(load(model)).sample([prompt(question) for question in QUESTIONS], 50, max_tokens=10)
    return sum(what in sample.text for group in groups for sample in group) / 200


def test_a_model_learns_to_answer_as_it_was_shown(first: Path) -> None:
    groups = Sampler(load(first / "model")).sample([prompt(QUESTIONS[0])], 100, max_tokens=10)
    known = sum(sample.text in ANSWERS and sample.finish_reason == "stop" for sample in groups[0])
    assert known >= 90
    assert 0.25 < share(first / "model", "yes") < 0.75


def test_the_same_spec_gives_the_same_bytes(first: Path, tmp_path: Path) -> None:
    spec = {"demonstrations": str(first / "demonstrations.jsonl"), "tiny": SHAPE, "steps": 12}
    weights = []
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        out = sft.run(spec | {"seed": seed}, tmp_path / name, silent)
        weights.append((Path(out["model"]) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_training_goes_on_from_a_given_model(first: Path, tmp_path: Path) -> None:
    write_records(
        tmp_path / "d.jsonl", [{"prompt": prompt("it broke"), "answer": ANSWERS[1], "weight": 2.0}] * 40
    )
    seen: list[int] = []
    out = sft.run(
        {
            "demonstrations": str(tmp_path / "d.jsonl"),
            "model": str(first / "model"),
            "steps": 20,
            "warmup": 2,
        },
        tmp_path,
        lambda step, values: seen.append(step),
    )
    assert seen == list(range(1, 21))
    assert share(out["model"], "no") > 0.9


PRACTICE = pytest.mark.parametrize("way", [grpo, ppo], ids=["grpo", "ppo"])


@PRACTICE
def test_what_is_rewarded_becomes_more_frequent(first: Path, rewards: str, tmp_path: Path, way: Any) -> None:
    out = way.run(spec(first, f"{rewards}:likes", brake=None, kl=0.0), tmp_path, silent)
    assert share(out["model"], "yes") > share(first / "model", "yes") + 0.25
    assert out["reward_after"] > out["reward_before"]
    assert out["stopped"] == "done"


@PRACTICE
def test_the_same_seed_optimises_to_the_same_bytes(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    weights = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        out = way.run(spec(first, f"{rewards}:likes", iterations=2), tmp_path / name, silent)
        weights.append((Path(out["model"]) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@PRACTICE
def test_the_brake_keeps_the_last_weights_within_reach(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    out = way.run(
        spec(first, f"{rewards}:likes", brake=0.1, kl=0.0, iterations=20, rate=5e-3), tmp_path, silent
    )
    curve = read_records(Path(out["curve"]))
    assert out["stopped"] == "brake"
    assert curve[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert curve[-1]["kl"] > 0.1 >= out["kl"] == curve[out["iterations"]]["kl"]
    assert len(curve) == out["iterations"] + 2
    assert share(out["model"], "yes") < 0.9


def test_held_against_the_mean_of_the_others_it_learns_too(first: Path, rewards: str, tmp_path: Path) -> None:
    out = grpo.run(spec(first, f"{rewards}:likes", brake=None, kl=0.0, baseline="others"), tmp_path, silent)
    assert share(out["model"], "yes") > share(first / "model", "yes") + 0.25


def test_members_that_disagree_take_from_the_reward(first: Path, rewards: str, tmp_path: Path) -> None:
    order = spec(first, f"{rewards}:torn", iterations=1)
    plain, wary = (
        read_records(Path(grpo.run(order | {"pessimism": k}, tmp_path, silent)["curve"]))[0]
        for k in (0.0, 2.0)
    )
    assert wary["quality"] == plain["quality"]
    assert wary["reward"] == pytest.approx(plain["reward"] - 2.0 * 0.25)


@PRACTICE
def test_a_bound_on_violations_is_kept_by_a_price_that_is_found(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    """What is liked is what is forbidden: without a bound it would take over. No single step is stopped here."""
    order = spec(first, f"{rewards}:forbidden", brake=None, kl=0.0, iterations=14, batch=16)
    bound = {"constraint": {"bound": 0.2, "rate": 0.3}, "safety": {"violation": 10.0, "drift": 10.0}}
    out = way.run(order | bound, tmp_path, silent)
    curve = read_records(Path(out["curve"]))
    assert curve[0]["price"] == pytest.approx(1.0)
    assert max(row["price"] for row in curve) > 1.2
    assert share(out["model"], "yes") < 0.35
    assert curve[0]["violation"] > 0.25


def test_a_policy_that_would_learn_to_do_harm_is_stopped_step_by_step(
    first: Path, rewards: str, tmp_path: Path
) -> None:
    """Here nothing else holds it: the penalty is nought, and what is liked is what is forbidden."""
    out = grpo.run(
        spec(first, f"{rewards}:forbidden", brake=None, kl=0.0, penalty=0.0, iterations=12), tmp_path, silent
    )
    assert out["stopped"] == "unsafe"
    assert set(out["left_out"]) == {"violations would become more frequent"}
    assert share(out["model"], "yes") < share(first / "model", "yes") + 0.1


@PRACTICE
def test_poisoned_rewards_end_the_run_and_move_nothing(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    """A credit that no comparison can give: every step is left out."""
    order = spec(first, f"{rewards}:likes", safety={"credit": 1e-3, "patience": 4})
    out = way.run(order, tmp_path, silent)
    assert out["stopped"] == "unsafe"
    assert out["left_out"] == {"a credit is beyond what credits can be": 4}
    assert out["iterations"] == 0
    before = (first / "model" / "model.safetensors").read_bytes()
    assert (Path(out["model"]) / "model.safetensors").read_bytes() == before
    steps = read_records(Path(out["steps"]))
    assert [step["unsafe"] for step in steps] == ["a credit is beyond what credits can be"] * 4


def test_a_critic_does_not_learn_from_what_the_policy_may_not(
    first: Path, rewards: str, tmp_path: Path
) -> None:
    settings = ppo.PpoSpec.model_validate(
        spec(first, f"{rewards}:likes", safety={"credit": 1e-3, "patience": 4})
    )
    made: list[ppo.ActorCritic] = []

    def learner(policy: Any) -> ppo.ActorCritic:
        made.append(ppo.ActorCritic(policy, settings))
        return made[0]

    assert practice.run(settings, learner, tmp_path, silent)["stopped"] == "unsafe"
    critic = made[0].modules["critic"]
    assert all(not weight.any() for weight in critic.get_submodule("head").parameters())
    assert made[0].steppers["critic"].taken == 0


def test_without_a_difference_nothing_moves(first: Path, rewards: str, tmp_path: Path) -> None:
    out = grpo.run(spec(first, f"{rewards}:indifferent", iterations=2, penalty=2.5), tmp_path, silent)
    curve = read_records(Path(out["curve"]))
    assert [row["silent_groups"] for row in curve] == [1.0, 1.0, 1.0]
    assert curve[0]["reward"] == pytest.approx(-0.5 * 2.5 - curve[0]["truncated"])
    before = (first / "model" / "model.safetensors").read_bytes()
    assert (Path(out["model"]) / "model.safetensors").read_bytes() == before


def test_a_reward_of_the_call_leaves_the_prose_alone(first: Path, rewards: str, tmp_path: Path) -> None:
    out = grpo.run(spec(first, f"{rewards}:split", brake=None, kl=0.05), tmp_path, silent)
    assert share(out["model"], "[a]") > share(first / "model", "[a]") + 0.2
    assert abs(share(out["model"], "yes") - share(first / "model", "yes")) < 0.2


@pytest.mark.slow
def test_what_a_mixture_of_programs_rewards_becomes_more_frequent(first: Path, tmp_path: Path) -> None:
    """A function that reads a column, a check with a bound, and a command, each in its own walls."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "program_of_this_test.py").write_text(
        "def liked(completions, likes, completion_ids, **columns):\n"
        "    assert len(completion_ids) == len(completions)\n"
        "    return [None if word is None else float(word in completion[0]['content'])\n"
        "            for completion, word in zip(completions, likes)]\n"
    )
    likes = ["yes", "yes", "yes", None]
    rows = [
        {"prompt": prompt(question), "likes": like} for question, like in zip(QUESTIONS, likes, strict=True)
    ]
    write_records(tmp_path / "prompts.jsonl", rows)
    (tmp_path / "mixture.yaml").write_text(
        "parts:\n"
        "  - {name: liked, source: {function: 'program_of_this_test:liked'}, weight: 2}\n"
        "  - {name: ended, source: {check: pattern, pattern: '[.]$'}, weight: 0, at_least: 1}\n"
        "  - {name: first, source: {command: [grep, -qF, '[a]'], score: exit}}\n"
        f"sandbox: {{isolation: {'full' if trouble() is None else 'none'}}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        order = spec(
            first, "heedful.rewards.mixture:load", brake=None, kl=0.0, prompts=str(tmp_path / "prompts.jsonl")
        )
        out = grpo.run(order | {"reward_model": str(tmp_path / "mixture.yaml")}, tmp_path, silent)
    curve = read_records(Path(out["curve"]))
    assert share(out["model"], "yes") > share(first / "model", "yes") + 0.25
    assert share(out["model"], "[a]") > share(first / "model", "[a]") + 0.1
    assert out["reward_after"] > out["reward_before"] + 0.2
    assert curve[-1]["reward/liked"] > curve[0]["reward/liked"]
    assert {"reward/ended", "reward/first"} <= set(curve[0])
    assert all(row["unscored"] == 0 for row in curve)  # the command has something to say about every answer


def test_an_answer_without_a_reward_teaches_nothing(first: Path, tmp_path: Path) -> None:
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "half_of_this_test.py").write_text(
        "def half(completions): return [1.0 if 'yes' in one[0]['content'] else None for one in completions]\n"
        "def none(completions): return [None for one in completions]\n"
    )
    order = spec(first, "heedful.rewards.programs:load", iterations=1, truncated=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        out = grpo.run(order | {"reward_model": "half_of_this_test:half"}, tmp_path, silent)
        with pytest.raises(TrainingFailed, match="nothing to say about any answer of iteration 0"):
            grpo.run(order | {"reward_model": "half_of_this_test:none"}, tmp_path / "none", silent)
    curve = read_records(Path(out["curve"]))
    assert [row["silent_groups"] for row in curve] == [1.0, 1.0]
    assert 0.2 < curve[0]["unscored"] < 0.8
    assert curve[0]["quality"] == 1.0
    before = (first / "model" / "model.safetensors").read_bytes()
    assert (Path(out["model"]) / "model.safetensors").read_bytes() == before


def test_a_column_with_a_name_of_ours_is_refused(first: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "p.jsonl", [{"prompt": prompt("it broke"), "completions": 1}])
    with pytest.raises(InvalidInput, match="'completions'"):
        grpo.run(spec(first, "heedful.errors:x", prompts=str(tmp_path / "p.jsonl")), tmp_path, silent)


def test_a_reward_that_is_not_there_is_told_plainly(first: Path, tmp_path: Path) -> None:
    for path in ("no.such.module:load", "heedful.errors:nothing", "heedful.errors", "heedful.lm.tiny:PAD"):
        with pytest.raises(Misconfigured):
            grpo.run(spec(first, path), tmp_path, silent)


def test_a_misspelt_setting_or_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        sft.run({"demonstrations": "x", "step": 3}, tmp_path, silent)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InvalidInput, match="no demonstrations"):
        sft.run({"demonstrations": str(tmp_path / "empty.jsonl")}, tmp_path, silent)
    (tmp_path / "odd.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(InvalidInput, match=r"odd\.jsonl: row 1 has no `answer` or `completion`"):
        sft.run({"demonstrations": str(tmp_path / "odd.jsonl")}, tmp_path, silent)


def test_lines_are_written_anew_whole_or_not_at_all(tmp_path: Path) -> None:
    def torn() -> Iterator[dict[str, int]]:
        yield {"iteration": 0}
        raise CutOff

    write_records(tmp_path / "curve.jsonl", [{"iteration": 0}, {"iteration": 1}])
    with pytest.raises(CutOff):
        rewrite(tmp_path / "curve.jsonl", torn())
    assert len(read_records(tmp_path / "curve.jsonl")) == 2


class CutOff(Exception):
    pass


@PRACTICE
@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_run_that_is_cut_off_goes_on_bit_by_bit(
    first: Path, rewards: str, tmp_path: Path, way: Any, at: int
) -> None:
    """Wherever it stops: the weights, the curve, the steps and what was said are those of an undisturbed run."""
    order = spec(first, f"{rewards}:forbidden", iterations=4, save_seconds=0, brake=None)
    order |= {"constraint": {"bound": 0.2}}
    order |= {"kl_target": 0.5} if way is ppo else {}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = way.run(order, tmp_path / "whole", silent)

    def until(iteration: int, values: Mapping[str, float]) -> None:
        if iteration == at:
            raise CutOff

    with pytest.raises(CutOff):
        way.run(order, tmp_path / "cut", until)
    assert (tmp_path / "cut" / "states").is_dir()
    seen: list[int] = []
    cut = way.run(order, tmp_path / "cut", lambda iteration, values: seen.append(iteration))
    assert seen == list(range(at, 5))
    assert not (tmp_path / "cut" / "states").exists()
    for name in ("curve.jsonl", "steps.jsonl", "answers.jsonl", "model/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    same = {
        name: value
        for name, value in whole.items()
        if name != "seconds" and not str(value).startswith(str(tmp_path))
    }
    assert same == {name: cut[name] for name in same}


@PRACTICE
def test_a_budget_stops_practice_and_more_of_it_lets_it_go_on(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    order = spec(first, f"{rewards}:likes", iterations=4, brake=None)
    whole = way.run(order, tmp_path / "whole", silent)
    cut = way.run(order | {"tokens": 1}, tmp_path / "cut", silent)
    assert (cut["stopped"], cut["iterations"]) == ("tokens", 0)
    assert 1 < cut["tokens"] < whole["tokens"]
    start, kept = (load(place).model.state_dict() for place in (first / "model", cut["model"]))
    assert all(kept[name].equal(start[name]) for name in start)
    again = way.run(order, tmp_path / "cut", silent)
    assert (again["stopped"], again["tokens"]) == (whole["stopped"], whole["tokens"])
    for name in ("curve.jsonl", "steps.jsonl", "samples.jsonl", "model/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@PRACTICE
def test_a_run_of_other_settings_is_not_gone_on_with(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    order = spec(first, f"{rewards}:likes", iterations=3, save_seconds=0)

    def until(iteration: int, values: Mapping[str, float]) -> None:
        if iteration == 2:
            raise CutOff

    with pytest.raises(CutOff):
        way.run(order, tmp_path, until)
    with pytest.raises(InvalidInput, match="other settings or other data"):
        way.run(order | {"rate": 1e-3}, tmp_path, silent)


# -- people who look, and breadth ------------------------------------------------------------------------------

PEOPLE = '''
import json

class Crowd:
    """Likes an answer with "no" better, and writes down what it was asked."""
    def __init__(self, file): self.file = file
    def compare(self, prompts, first, second, *, once):
        with open(self.file, "a") as file:
            file.write(json.dumps({"once": once, "prompts": prompts, "first": first, "second": second}) + "\\n")
        return [0.5 if ("no" in a) == ("no" in b) else float("no" in a) for a, b in zip(first, second)]

class Nobody:
    def compare(self, prompts, first, second, *, once): return [None] * len(prompts)

def crowd(file): return Crowd(file)
def nobody(asked): return Nobody()
'''


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "people_of_this_test.py").write_text(PEOPLE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "people_of_this_test"


def test_people_who_dislike_what_the_reward_likes_keep_the_start(
    first: Path, rewards: str, people: str, tmp_path: Path
) -> None:
    audit = {"auditor": f"{people}:crowd", "asked": str(tmp_path / "asked.jsonl"), "every": 1, "pairs": 40}
    order = spec(first, f"{rewards}:likes", audit=audit, iterations=8)
    out = grpo.run(order, tmp_path / "run", silent)
    assert (out["stopped"], out["iterations"]) == ("audit", 0)
    start, kept = (load(place).model.state_dict() for place in (first / "model", out["model"]))
    assert all(kept[name].equal(start[name]) for name in start)
    asked, looks = read_records(tmp_path / "asked.jsonl"), read_records(Path(out["audits"]))
    assert out["asked"] == 40 * len(asked) == sum(look["asked"] for look in looks)
    assert len({one["once"] for one in asked}) == len(asked)


def test_people_who_like_it_too_let_it_run_and_change_nothing_on_its_way(
    first: Path, rewards: str, people: str, tmp_path: Path
) -> None:
    audit = {"auditor": f"{people}:crowd", "asked": str(tmp_path / "asked.jsonl"), "every": 2, "pairs": 40}
    order = spec(first, f"{rewards}:likes", reward_model="no", brake=None)
    out = grpo.run(order | {"audit": audit}, tmp_path / "watched", silent)
    alone = grpo.run(order | {"keep_every": 1}, tmp_path / "alone", silent)
    assert out["iterations"] in {look["iteration"] for look in read_records(Path(out["audits"]))}
    assert share(out["model"], "no") > 0.9
    assert Path(out["curve"]).read_bytes() == Path(alone["curve"]).read_bytes()
    kept = tmp_path / "alone" / "checkpoints" / f"{out['iterations']:06d}" / "model.safetensors"
    assert kept.read_bytes() == (Path(out["model"]) / "model.safetensors").read_bytes()


def test_where_nobody_answers_the_run_s_own_brake_holds(
    first: Path, rewards: str, people: str, tmp_path: Path
) -> None:
    audit = {"auditor": f"{people}:nobody", "every": 1, "pairs": 8}
    order = spec(first, f"{rewards}:likes", iterations=12, kl=0.0, brake=0.3)
    out = grpo.run(order | {"audit": audit}, tmp_path / "nobody", silent)
    alone = grpo.run(order, tmp_path / "alone", silent)
    assert (out["stopped"], alone["stopped"]) == ("brake", "brake")
    # until the first look nobody knows that nobody will answer
    assert out["iterations"] <= max(1, alone["iterations"])


def test_an_auditor_that_is_not_there_is_refused_by_name(first: Path, rewards: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no auditor at 'nowhere:nobody'"):
        grpo.run(spec(first, f"{rewards}:likes", audit={"auditor": "nowhere:nobody"}), tmp_path, silent)


@pytest.mark.parametrize("way", [grpo, ppo])
def test_a_policy_that_finds_one_answer_for_everything_is_stopped_before_it_says_nothing_else(
    first: Path, rewards: str, tmp_path: Path, way: Any
) -> None:
    loose = {"rise": 10, "fall": 10, "drift": 10, "length": 100}
    order = spec(first, f"{rewards}:one_for_all", iterations=30, kl=0.0, brake=None, batch=16, safety=loose)
    kept = way.run(order, tmp_path / "kept", silent)
    if way is grpo:  # which way it goes without is the same for both
        free = way.run(order | {"breadth": None}, tmp_path / "free", silent)
        assert distinct(free["model"]) < 0.05
    curve = read_records(Path(kept["curve"]))
    assert max(one["leash"] for one in curve) > 1
    assert curve[kept["iterations"]]["entropy"] >= 0.05 * curve[0]["entropy"]
    # either the dearer distance brought it back, or it was stopped
    assert kept["stopped"] == "collapse" or distinct(kept["model"]) > 0.1


def distinct(model: str) -> float:
    """Share of answers that are not the most frequent one."""
    groups = Sampler(load(model)).sample([prompt(question) for question in QUESTIONS], 50, max_tokens=10)
    texts = [sample.text for group in groups for sample in group]
    return 1 - max(texts.count(text) for text in set(texts)) / len(texts)
