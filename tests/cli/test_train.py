"""`heedful train`: from a file to a model directory, with clear words for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="needs the extra `train`")

from transformers import AutoModelForCausalLM, AutoTokenizer

from heedful.cli import main
from heedful.commands import teaching
from heedful.errors import InvalidInput
from heedful.lm import columns
from heedful.lm.load import load, save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny

PROMPTS = ("where is it", "it broke", "i want my money", "stop it")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    texts = [*PROMPTS, "yes of course.", "no, go away."] * 5
    save(make_tiny(texts, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=320)), root / "base")
    write_records(
        root / "rows.jsonl",
        [
            {
                "prompt": prompt,
                "chosen": "yes of course.",
                "rejected": "no, go away.",
                "completion": "yes of course." if number % 3 else "no, go away.",
                "label": bool(number % 3),
            }
            for number, prompt in enumerate(PROMPTS * 10)
        ],
    )
    return root


def said(capsys: pytest.CaptureFixture[str], codes: tuple[int, ...], *arguments: str) -> tuple[str, str]:
    """What the command printed, and on which stream."""
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    told = capsys.readouterr()
    assert ended.value.code in codes, told.err
    return told.out, told.err


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(capsys, (0,), *arguments, "--json")[0])
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    return said(capsys, (1, 2), *arguments)[1]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("sft", ["-o", "steps=12", "-o", "warmup=2"]),
        ("dpo", ["-o", "epochs=4", "-o", "rate=1e-3"]),
        ("dpo", ["-o", "epochs=4", "-o", "rate=1e-3", "-o", "lora={rank: 4}"]),
        ("kto", ["-o", "epochs=4", "-o", "rate=1e-3"]),
        ("reward", ["-o", "epochs=4"]),
        ("ensemble", ["-o", "epochs=4", "-o", "models=2", "-o", "max_tokens=8"]),
    ],
)
def test_every_method_goes_from_a_file_to_a_model_that_the_library_loads(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, options: list[str]
) -> None:
    rows, base, out = str(place / "rows.jsonl"), str(place / "base"), tmp_path / "out"
    done = ran(capsys, method, rows, "--model", base, "--out", str(out), *options)
    assert done["stopped"] == "done"
    assert not (out / "states").exists()
    assert (out / "metrics.jsonl").read_text().count("\n") >= 4
    inside = {"reward": "backbone", "ensemble": "members/1/backbone"}.get(method, "")
    made = Path(done.get("reward") or done["model"]) / inside
    model = AutoModelForCausalLM.from_pretrained(made)
    assert AutoTokenizer.from_pretrained(made)("it broke")["input_ids"]
    moved = load(base).model.state_dict()
    assert any(not (moved[name] == value).all() for name, value in model.state_dict().items())
    if method == "dpo":
        assert done["accuracy"] > 0.9


def test_a_judge_without_a_network_goes_from_a_file_to_a_report_card(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = str(place / "rows.jsonl"), tmp_path / "out"
    done = ran(capsys, "sparse", rows, "--out", str(out), "-o", "held_out=0")
    assert list(done["strengths"]) == ["quality"]
    assert not (Path(done["reward"]) / "backbone").exists()
    told = said(capsys, (0,), "sparse", rows, "--out", str(out), "-o", "held_out=0")[0]
    assert "looks_at" in told
    with pytest.raises(SystemExit) as ended:
        main(["eval", "reward", "--model", done["reward"], "--data", rows, "--json"])
    card = json.loads(capsys.readouterr().out)
    assert card["quality"]["accuracy"] == 1.0
    assert ended.value.code == (0 if card["passed"] else 1)
    assert all(
        name.startswith("probes.") for name in card["failed"]
    )  # the pairs themselves it judges well enough


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_a_policy_practises_from_a_file_of_prompts(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    rows, base = str(place / "rows.jsonl"), str(place / "base")
    judge = ran(capsys, "sparse", rows, "--out", str(tmp_path / "judge"), "-o", "held_out=0")["reward"]
    order = [method, rows, "--model", base, "--out", str(tmp_path / "out"), "-o", f"reward_model={judge}"]
    done = ran(capsys, *order, "-o", "iterations=2", "-o", "batch=4", "-o", "group=2", "-o", "max_tokens=8")
    assert AutoModelForCausalLM.from_pretrained(done["model"])
    assert len((tmp_path / "out" / "curve.jsonl").read_text().splitlines()) == 3
    assert "reward_model: field required" in refused(capsys, method, rows, "--model", base)


def test_a_refresh_tells_by_its_exit_code_what_became_of_what_came_in(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yes, no = "yes of course.", "no, go away."

    def rows(name: str, count: int, chosen: str, rejected: str) -> str:
        found = [{"prompt": f"{name} {n}", "chosen": chosen, "rejected": rejected} for n in range(count)]
        write_records(tmp_path / f"{name}.jsonl", found)
        return str(tmp_path / f"{name}.jsonl")

    known = rows("known", 40, yes, no)
    first = ["reward", known, "--model", str(place / "base"), "--out", str(tmp_path / "first")]
    judge = ran(capsys, *first, "-o", "epochs=8", "-o", "held_out=0")["reward"]
    options = [f"buffer={tmp_path / 'buffer'}", f"preferences_holdout={rows('gold', 20, yes, no)}"]
    options += [f"preferences_replay={known}", "recent={fewest: 30}", "guard={accuracy: 0.2, log_loss: 0.2}"]
    options += ["rate=1e-3", "head_rate=2e-2", "epochs=4"]
    asked = [part for one in options for part in ("-o", one)]

    def refreshed(code: int, name: str, *given: str) -> tuple[dict[str, Any], list[str]]:
        order = ["refresh", *given, *asked, "--out", str(tmp_path / name)]
        return json.loads(said(capsys, (code,), *order, "--json")[0]), order

    few, order = refreshed(3, "few", rows("few", 20, yes, no), "--model", judge)
    assert (few["outcome"], few["reward"], few["waiting"]) == ("waiting", judge, 20)
    assert "20 rows wait, and 30 are the fewest" in said(capsys, (3,), *order)[0]
    more, _ = refreshed(0, "more", rows("more", 20, yes, no), "--model", judge)
    assert (more["outcome"], more["sampled"]) == ("accepted", 40)
    AutoModelForCausalLM.from_pretrained(Path(more["reward"]) / "backbone")
    bad, _ = refreshed(1, "bad", rows("bad", 90, no, yes), "--model", more["reward"])
    assert (bad["outcome"], bad["reward"], bad["quarantined"]) == ("refused", more["reward"], 90)
    assert bad["why"]


def test_a_refresh_is_not_swept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["model=judge", "buffer=waiting", "preferences_holdout=gold.jsonl"]
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "refresh", *(part for one in asked for part in ("-o", one)), "--vary", "rate=1..2"])
    assert ended.value.code == 2
    assert "refresh is not swept: there is sft, reward" in capsys.readouterr().err


def test_settings_come_from_a_file_and_the_command_line_has_the_last_word(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    asked = {"model": str(place / "base"), "preferences": str(place / "rows.jsonl"), "epochs": 50, "batch": 8}
    config.write_text(yaml.safe_dump(asked))
    done = ran(capsys, "dpo", "--config", str(config), "--out", str(tmp_path / "out"), "-o", "epochs=1")
    assert done["steps"] == 5


def test_a_run_within_a_budget_is_gone_on_with(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["sft", str(place / "rows.jsonl"), "--model", str(place / "base"), "--out", str(tmp_path / "out")]
    order += ["-o", "steps=30"]
    assert ran(capsys, *order, "-o", "tokens=500")["stopped"] == "tokens"
    assert "go on with --resume" in refused(capsys, *order)
    assert ran(capsys, *order, "--resume")["steps"] == 30
    assert "leave --resume out" in refused(capsys, *order, "--resume")
    assert "--resume goes on" in said(capsys, (0,), *order, "-o", "tokens=500")[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dpo", "{rows}", "--model", "{base}", "-o", "bta=1"], "bta: extra inputs are not permitted"),
        (["dpo", "{rows}", "--model", "{base}", "-o", "beta=-1"], "beta: input should be greater than 0"),
        (["dpo", "{rows}", "--model", "{base}", "-o", "beta"], "'beta' is not NAME=VALUE"),
        (["dpo", "{rows}"], "model: field required"),
        (["sparse", "{rows}", "--model", "{base}"], "model: extra inputs are not permitted"),
        (["sparse", "{rows}", "-o", "balance=2"], "balance: input should be less than or equal to 1"),
        (["sparse"], "nothing to fit: give preferences, rankings or safety labels"),
        (["dpo", "missing.jsonl", "--model", "{base}"], "no file 'missing.jsonl'"),
        (["dpo", "{rows}", "--model", "nowhere"], "cannot load a causal language model from 'nowhere'"),
        (["dpo", "{rows}", "--config", "missing.yaml"], "missing.yaml cannot be read"),
        (["kto", "{bad}", "--model", "{base}"], "row 1 has no `up` or `label`; it has answer, prompt"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    write_records(tmp_path / "bad.jsonl", [{"prompt": "a", "answer": "b"}] * 2)
    names = {
        "rows": str(place / "rows.jsonl"),
        "base": str(place / "base"),
        "bad": str(tmp_path / "bad.jsonl"),
    }
    filled = [one.format(**names) if one.startswith("{") and one[1:-1] in names else one for one in arguments]
    assert words.lower() in refused(capsys, *filled, "--out", str(tmp_path / "out")).lower()


# -- rows as others write them --------------------------------------------------------------------------------

ASKED = [{"role": "user", "content": "a"}]
SAID = {"role": "assistant", "content": "b"}


def read(tmp_path: Path, kind: str, record: dict[str, Any]) -> dict[str, Any]:
    write_records(tmp_path / "one.jsonl", [record])
    (row,) = getattr(columns, kind)(tmp_path / "one.jsonl")
    found: dict[str, Any] = row
    return found


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("demonstrations", {"prompt": "a", "completion": "b"}),
        ("demonstrations", {"prompt": ASKED, "answer": "b"}),
        ("demonstrations", {"prompt": ASKED, "completion": [SAID]}),
        ("demonstrations", {"messages": [*ASKED, SAID]}),
        ("thumbs", {"prompt": "a", "completion": "b", "label": True}),
        ("thumbs", {"messages": [*ASKED, SAID], "up": 1}),
        ("pairs", {"prompt": "a", "chosen": "b", "rejected": "c"}),
        ("pairs", {"prompt": ASKED, "chosen": [SAID], "rejected": [SAID | {"content": "c"}]}),
        ("pairs", {"chosen": [*ASKED, SAID], "rejected": [*ASKED, SAID | {"content": "c"}]}),
    ],
)
def test_others_rows_become_ours(tmp_path: Path, kind: str, record: dict[str, Any]) -> None:
    row = read(tmp_path, kind, record)
    assert row["prompt"] == ASKED
    assert row.get("answer", row.get("chosen")) == "b"
    assert row.get("rejected", "c") == "c"
    assert row.get("up", True) is True
    assert row["weight"] == 1.0


@pytest.mark.parametrize(
    ("kind", "record", "said"),
    [
        ("demonstrations", {"messages": ASKED}, "do not end with an answer"),
        ("demonstrations", {"prompt": 5, "answer": "b"}, "neither text nor a list of messages"),
        ("pairs", {"chosen": [*ASKED, SAID], "rejected": [SAID]}, "share no conversation"),
        ("pairs", {"prompt": "a", "chosen": "b"}, "has no `rejected`"),
        ("thumbs", {"prompt": "a", "answer": "b", "up": "yes"}, "true or false"),
        ("demonstrations", {"prompt": "a", "answer": "b", "weight": -1}, "a number from 0 up"),
    ],
)
def test_rows_that_say_nothing_are_refused_by_number(
    tmp_path: Path, kind: str, record: dict[str, Any], said: str
) -> None:
    with pytest.raises(Exception, match=f"row 1 .*{said}"):
        read(tmp_path, kind, record)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_what_was_kept_back_is_measured(method: str, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"ask {n}", "chosen": "yes please", "rejected": "no never"}
        if method == "dpo"
        else {"prompt": f"ask {n}", "answer": ("no never", "yes please")[n % 2], "up": bool(n % 2)}
        for n in range(40)
    ]
    write_records(tmp_path / "rows.jsonl", rows)
    shape = TinyShape(width=16, layers=1, heads=2, vocabulary=300)
    save(make_tiny(["ask yes please no never"] * 4, shape=shape), tmp_path / "base")
    asked = {"model": str(tmp_path / "base"), "held_out": 0.4, "rate": 3e-3, "epochs": 20, "batch": 8}
    data = {teaching.TASKS[method].data: str(tmp_path / "rows.jsonl")}
    done = teaching.run(method, asked | data, tmp_path / "out", lambda *_: None, resume=False)
    assert done["held_out"]["accuracy"] == 1.0
    assert done["held_out"]["loss"] < 0.69


def tiny(place: Path) -> str:
    save(make_tiny(["ask yes please no never"] * 4, shape=TinyShape(width=16, layers=1, heads=2)), place)
    return str(place)


@pytest.mark.parametrize("method", ["sft", "reward", "dpo", "kto"])
def test_when_every_prompt_is_kept_back_it_is_said_before_anything_is_loaded(
    method: str, tmp_path: Path
) -> None:
    row = {"prompt": "ask", "chosen": "yes", "rejected": "no", "answer": "yes", "up": True}
    write_records(tmp_path / "rows.jsonl", [row, row])
    asked = {"model": str(tmp_path / "nowhere"), "held_out": 0.9999999}
    data = {teaching.TASKS[method].data: str(tmp_path / "rows.jsonl")}
    with pytest.raises(InvalidInput, match="keeps back every prompt"):
        teaching.run(method, asked | data, tmp_path / "out", lambda *_: None, resume=False)


def test_a_budget_of_money_stops_a_run_and_needs_a_price(tmp_path: Path) -> None:
    write_records(
        tmp_path / "rows.jsonl", [{"prompt": f"ask {n}", "answer": "yes please"} for n in range(20)]
    )
    asked = {
        "model": tiny(tmp_path / "base"),
        "demonstrations": str(tmp_path / "rows.jsonl"),
        "steps": 10_000,
    }
    spent = {"money": 0.5, "hourly": 3600.0}  # half a second
    done = teaching.run("sft", asked | spent, tmp_path / "out", lambda *_: None, resume=False)
    assert done["stopped"] == "money"
    assert 0 < done["steps"] < 10_000
    with pytest.raises(InvalidInput, match="hourly"):
        teaching.check("sft", asked | {"money": 1.0})


def test_folds_share_one_budget(tmp_path: Path) -> None:
    rows = [{"prompt": f"ask {n}", "chosen": "yes please", "rejected": "no never"} for n in range(40)]
    write_records(tmp_path / "rows.jsonl", rows)
    asked = {"model": tiny(tmp_path / "base"), "preferences": str(tmp_path / "rows.jsonl"), "epochs": 100}
    taken = {}
    for folds in (0, 3):
        steps: list[int] = []
        spec = asked | {"tokens": 16_000, "folds": folds}
        out = tmp_path / str(folds)
        done = teaching.run("reward", spec, out, lambda step, _, to=steps: to.append(step), resume=False)
        assert done["stopped"] == "tokens"
        assert "cross_validation" not in done["report"]  # there was no budget left for it
        taken[folds] = max(steps)
    assert 1 < taken[3] <= taken[0] / 4 + 1


def test_adapters_teach_a_demonstration_too(tmp_path: Path) -> None:
    write_records(
        tmp_path / "rows.jsonl", [{"prompt": f"ask {n}", "answer": "yes please"} for n in range(20)]
    )
    base = tiny(tmp_path / "base")
    asked = {"model": base, "demonstrations": str(tmp_path / "rows.jsonl"), "steps": 30, "rate": 1e-2}
    done = teaching.run("sft", asked | {"lora": {"rank": 4}}, tmp_path / "out", lambda *_: None, resume=False)
    before, after = load(base).model.state_dict(), load(done["model"]).model.state_dict()
    assert before.keys() == after.keys()  # merged: no adapter is left
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved
    kept = ("wte", "wpe", "embed", "norm", "ln_", "lm_head", "bias")
    assert not [name for name in moved if any(part in name for part in kept)]
