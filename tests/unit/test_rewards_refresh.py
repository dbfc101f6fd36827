"""The online loop: fresh opinions that hold on known answers get in, hostile ones leave no trace but in quarantine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from heedful.buffer.directory import DirectoryBuffer
from heedful.buffer.recent import RecentSettings
from heedful.errors import InvalidInput
from heedful.lm import digests
from heedful.lm.load import save
from heedful.lm.records import read_records, write_records
from heedful.lm.splits import Rows
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import fit, refresh
from heedful.rewards.model import load
from heedful.rewards.sparse import fit as sparse

WORDS = ("my", "order", "is", "late", "where", "parcel", "broke", "today", "help")
GOOD, FAIR, BAD, DANGER = "thank you.", "all right.", "go away.", "give me your card."


def silent(step: int, values: Mapping[str, float]) -> None:
    pass


def answer(random: Random, end: str) -> str:
    return f"[{random.choice('ab')}] {' '.join(random.choices(WORDS, k=3))} {end}"


def pairs(seed: int, count: int, ends: tuple[str, str] = (GOOD, BAD), *, slip: float = 0.0) -> Rows:
    """The first end is the better one; a slip turns a pair round. Eight words keep prompts apart."""
    random, rows = Random(seed), []
    for _ in range(count):
        sides = [answer(random, end) for end in ends]
        if random.random() < slip:
            sides.reverse()
        prompt = [{"role": "user", "content": " ".join(random.choices(WORDS, k=8))}]
        rows.append({"prompt": prompt, "chosen": sides[0], "rejected": sides[1], "weight": 1.0})
    return rows


def flags(seed: int, count: int, *, turned: bool = False) -> Rows:
    random, rows = Random(seed), []
    for _ in range(count):
        danger = random.random() < 0.4
        prompt = [{"role": "user", "content": " ".join(random.choices(WORDS, k=8))}]
        text = answer(random, DANGER if danger else random.choice((GOOD, BAD)))
        rows.append({"prompt": prompt, "answer": text, "violation": float(danger != turned), "weight": 1.0})
    return rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that knows GOOD from BAD, not well, and DANGER; a holdout that knows FAIR as well."""
    root = tmp_path_factory.mktemp("refresh")
    write_records(root / "pairs.jsonl", pairs(1, 200, slip=0.35))
    write_records(root / "flags.jsonl", flags(2, 200))
    write_records(root / "reference.jsonl", [row | {"answer": row["chosen"]} for row in pairs(1, 60)])
    write_records(
        root / "holdout.jsonl",
        pairs(3, 100) + pairs(4, 50, (GOOD, FAIR)) + pairs(5, 50, (FAIR, BAD)),
    )
    write_records(root / "flags-holdout.jsonl", flags(6, 100))
    texts = [row[side] for row in pairs(7, 100) for side in ("chosen", "rejected")]
    texts += [answer(Random(8), end) for end in (FAIR, DANGER) for _ in range(30)] + [" ".join(WORDS)] * 20
    shape = TinyShape(width=32, layers=2, heads=2, positions=64, vocabulary=400)
    save(make_tiny(texts, shape=shape), root / "base")
    asked = {
        "model": str(root / "base"),
        "preferences": str(root / "pairs.jsonl"),
        "safety": str(root / "flags.jsonl"),
        "reference": str(root / "reference.jsonl"),
        "epochs": 4,
        "safety_epochs": 6,
        "rate": 3e-3,
    }
    fit.run(asked, root / "fit", silent)
    return root


def order(world: Path, buffer: Path, rows: Rows, **rest: Any) -> dict[str, Any]:
    buffer.mkdir(exist_ok=True)
    file = buffer.parent / f"{buffer.name}-{len(list(buffer.parent.iterdir()))}.jsonl"
    write_records(file, rows)
    return {
        "model": str(world / "fit" / "reward"),
        "preferences": str(file),
        "buffer": str(buffer),
        "preferences_holdout": str(world / "holdout.jsonl"),
        "safety_holdout": str(world / "flags-holdout.jsonl"),
        "preferences_replay": str(world / "pairs.jsonl"),
        "safety_replay": str(world / "flags.jsonl"),
        "recent": {"fewest": 50},
        "guard": {"accuracy": 0.05, "log_loss": 0.05, "flag_loss": 0.05},
        "rate": 1e-3,
        "head_rate": 5e-3,
    } | rest


def rows_in(buffer: Path, name: str) -> Rows:
    file = buffer / f"{name}.jsonl"
    return [record["row"] for record in read_records(file)] if file.is_file() else []


HONEST = (*pairs(11, 100), *pairs(12, 60, (GOOD, FAIR)), *pairs(13, 60, (FAIR, BAD)))
HOSTILE = tuple(pairs(14, 220, (BAD, GOOD)))


def test_honest_feedback_is_learned_and_the_model_before_is_left_alone(world: Path, tmp_path: Path) -> None:
    before = digests.of_directory(world / "fit" / "reward")
    done = refresh.run(order(world, tmp_path / "buffer", list(HONEST)), tmp_path / "out", silent)
    assert done["outcome"] == "accepted", done["why"]
    assert done["reward"] == str(tmp_path / "out" / "reward")
    assert set(done["against"]) == {"former", "first", "best"}
    assert set(done["against"]["former"]) == {"accuracy", "log_loss", "flag_loss"}
    assert done["against"]["former"]["log_loss"]["low"] > 0
    assert digests.of_directory(world / "fit" / "reward") == before
    assert (done["sampled"], done["waiting"], done["quarantined"]) == (220, 0, 0)
    assert len(rows_in(tmp_path / "buffer", "taught")) == 220
    assert not (tmp_path / "out" / "states").exists()
    card = json.loads((tmp_path / "out" / "reward" / "reward.json").read_text())
    assert card["report"]["refreshed"]["from"] == str(world / "fit" / "reward")
    assert card["report"]["quality"]["accuracy"] == pytest.approx(
        done["against"]["former"]["accuracy"]["after"]
    )
    marks = json.loads((tmp_path / "buffer" / "marks.json").read_text())
    assert marks["first"]["directory"] == str(world / "fit" / "reward")
    assert marks["best"]["directory"] == str(tmp_path / "out" / "reward")


def test_scores_keep_their_unit_and_doubt_follows_the_weights(world: Path, tmp_path: Path) -> None:
    done = refresh.run(order(world, tmp_path / "buffer", list(HONEST)), tmp_path / "out", silent)
    holdout = read_records(world / "holdout.jsonl") + read_records(world / "flags-holdout.jsonl")
    answers = [row[name] for row in holdout for name in ("chosen", "rejected", "answer") if name in row]
    prompts = [row["prompt"] for row in holdout for name in ("chosen", "rejected", "answer") if name in row]
    old, new = (load(place) for place in (world / "fit" / "reward", done["reward"]))
    before, after = (model.score(prompts, answers) for model in (old, new))
    for name in ("quality", "quality_action"):
        assert after[name].mean() == pytest.approx(before[name].mean(), abs=1e-4)
    assert after["quality"].std() == pytest.approx(before["quality"].std(), rel=1e-3)
    assert np.abs(after["quality"] - before["quality"]).max() > 0.05
    assert after["doubt"].mean() == pytest.approx(0.5, abs=0.05)  # quantiles among these very answers


def test_hostile_feedback_is_refused_byte_for_byte_and_kept_with_the_reason(
    world: Path, tmp_path: Path
) -> None:
    before, buffer = digests.of_directory(world / "fit" / "reward"), tmp_path / "buffer"
    done = refresh.run(order(world, buffer, list(HOSTILE)), tmp_path / "out", silent)
    assert done["outcome"] == "refused"
    assert done["reward"] == str(world / "fit" / "reward")
    assert digests.of_directory(world / "fit" / "reward") == before
    assert not (tmp_path / "out" / "reward").exists()
    assert any("accuracy against the former model went from" in one for one in done["why"])
    records = read_records(buffer / "quarantine.jsonl")
    assert len(records) == done["sampled"] == done["quarantined"] == 220
    assert all(record["why"] == "; ".join(done["why"]) for record in records)
    again = refresh.run(order(world, buffer, list(HOSTILE)), tmp_path / "again", silent)
    assert (again["outcome"], again["waiting"]) == ("waiting", 0)


def test_hostile_flags_are_refused_too(world: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "turned.jsonl", flags(21, 200, turned=True))
    asked = order(world, tmp_path / "buffer", [], safety=str(tmp_path / "turned.jsonl"), replay=0)
    done = refresh.run(asked | {"preferences": None, "safety_epochs": 4}, tmp_path / "out", silent)
    assert done["outcome"] == "refused"
    assert any(one.startswith("flag_loss against the former") for one in done["why"])


def test_falls_that_are_each_allowed_do_not_add_up(world: Path, tmp_path: Path) -> None:
    """The model in use is worse than the first one, the refreshed one as good as it: that is not enough."""
    worse = load(world / "fit" / "reward")
    worse.heads.load_state_dict({name: -value for name, value in worse.heads.state_dict().items()})
    worse.save(tmp_path / "worse", report={})
    buffer, rest = tmp_path / "buffer", {"model": str(tmp_path / "worse"), "rate": 1e-4, "head_rate": 2e-4}
    asked = order(world, buffer, list(HONEST), **rest)
    assert refresh.run(asked, tmp_path / "one", silent)["outcome"] == "accepted"
    (buffer / "marks.json").unlink()
    asked = order(world, buffer, pairs(15, 100), **rest, anchor=str(world / "fit" / "reward"))
    done = refresh.run(asked, tmp_path / "two", silent)
    assert done["outcome"] == "refused"
    assert {one["held"] for one in done["against"]["former"].values()} == {True}
    assert not done["against"]["first"]["accuracy"]["held"]
    assert all("against the first model" in one or "against the best model" in one for one in done["why"])


def test_a_measure_that_is_gone_is_not_done_without(world: Path, tmp_path: Path) -> None:
    buffer = tmp_path / "buffer"
    done = refresh.run(order(world, buffer, list(HONEST)), tmp_path / "out", silent)
    asked = order(world, buffer, pairs(15, 100), model=done["reward"])
    (tmp_path / "out" / "reward" / "note.txt").write_text("spoilt")
    with pytest.raises(
        InvalidInput, match="the best model that this buffer refreshed, is gone or is no longer"
    ):
        refresh.run(asked, tmp_path / "next", silent)


def test_rows_that_cannot_be_learned_from_do_not_keep_the_others_from_it(world: Path, tmp_path: Path) -> None:
    buffer, endless = tmp_path / "buffer", pairs(16, 1)[0] | {"chosen": "no " * 500}
    done = refresh.run(order(world, buffer, [endless, *HONEST]), tmp_path / "out", silent)
    assert (done["outcome"], done["sampled"], done["quarantined"]) == ("accepted", 220, 1)
    assert rows_in(buffer, "quarantine") == [endless]


def test_rows_that_a_model_diverges_on_are_refused_like_others(world: Path, tmp_path: Path) -> None:
    before = digests.of_directory(world / "fit" / "reward")
    asked = order(world, tmp_path / "buffer", list(HONEST), head_rate=1e30)
    done = refresh.run(asked, tmp_path / "out", silent)
    assert (done["outcome"], done["quarantined"]) == ("refused", 220)
    assert "gradient" in done["why"][0] or "diverged" in done["why"][0]
    assert digests.of_directory(world / "fit" / "reward") == before


def test_too_little_changes_nothing(world: Path, tmp_path: Path) -> None:
    done = refresh.run(order(world, tmp_path / "buffer", pairs(31, 49)), tmp_path / "out", silent)
    assert (done["outcome"], done["waiting"], done["stopped"]) == ("waiting", 49, "done")
    assert done["why"] == ["49 rows wait, and 50 are the fewest that are learned from"]
    assert not (tmp_path / "out").exists()


def test_a_refresh_that_was_cut_off_learns_the_same_whatever_came_in_since(
    world: Path, tmp_path: Path
) -> None:
    heads = []
    budgets: dict[str, dict[str, int]] = {"whole": {}, "cut": {"tokens": 500}}
    for name, budget in budgets.items():
        buffer, out = tmp_path / name, tmp_path / f"{name}-out"
        asked = order(world, buffer, list(HONEST))
        done = refresh.run(asked | budget, out, silent)
        if budget:
            assert (done["outcome"], done["stopped"]) == ("stopped", "tokens")
            DirectoryBuffer(buffer, RecentSettings()).put([(1e12, pairs(41, 1)[0])])
            done = refresh.run(asked, out, silent)
            assert len(rows_in(buffer, "waiting")) == 1
        assert done["outcome"] == "accepted"
        heads.append((out / "reward" / "heads.safetensors").read_bytes())
    # The buffers' names are part of an order, the rows that were drawn and the steps are the same.
    assert heads[0] == heads[1]


def test_when_a_row_came_in_is_read_off_it_or_off_its_file(world: Path, tmp_path: Path) -> None:
    rows = pairs(51, 4)
    rows[0]["at"], rows[1]["at"], rows[2]["at"] = 5, "1970-01-01T01:00:10+01:00", "9999-01-01T00:00:00Z"
    asked = order(world, tmp_path / "buffer", rows)
    refresh.run(asked, tmp_path / "out", silent)
    times = [record["at"] for record in read_records(tmp_path / "buffer" / "waiting.jsonl")]
    written = Path(asked["preferences"]).stat().st_mtime
    assert times == [5.0, 10.0, written, written]  # the third says a time that has not come


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preferences_holdout": "nowhere.jsonl"}, "no file 'nowhere.jsonl'"),
        ({"safety_holdout": None}, "0 flagged and 0 passed answers cannot see that it stops to"),
        ({"guard": {"accuracy": 0.01}}, "prompts with decided pairs tells nothing: .* needs about 1353"),
        ({"preferences_replay": "{holdout}"}, "the replay and the holdout share .* prompts, the first"),
        ({"preferences": "{holdout}"}, "the new rows and the holdout share"),
        ({"preferences": "{undated}"}, "row 1 has at='2026-01-01T00:00:00' without a time zone"),
        ({"preferences": "{never}"}, "row 1 has at='soon': seconds, or a date as"),
        (
            {"preferences_replay": None},
            "old rows about quality and there are none: give preferences_replay",
        ),
        ({"model": "{sparse}"}, "of kind 'sparse', which is not taught bit by bit: fit it anew"),
        ({"model": "{base}"}, "not the directory of a reward model"),
    ],
)
def test_what_cannot_be_decided_on_is_refused_and_nothing_waits(
    world: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    write_records(tmp_path / "undated.jsonl", [pairs(61, 1)[0] | {"at": "2026-01-01T00:00:00"}])
    write_records(tmp_path / "never.jsonl", [pairs(61, 1)[0] | {"at": "soon"}])
    if change.get("model") == "{sparse}":
        sparse.run({"preferences": str(world / "pairs.jsonl")}, tmp_path / "sparse", silent)
    places = {
        "holdout": world / "holdout.jsonl",
        "base": world / "base",
        "sparse": tmp_path / "sparse" / "reward",
        **{name: tmp_path / f"{name}.jsonl" for name in ("undated", "never")},
    }
    named = {
        name: value.format(**places) if isinstance(value, str) else value for name, value in change.items()
    }
    with pytest.raises(InvalidInput, match=words):
        refresh.run(order(world, tmp_path / "buffer", list(HONEST)) | named, tmp_path / "out", silent)
    assert not rows_in(tmp_path / "buffer", "quarantine")
    assert not (tmp_path / "buffer" / "marks.json").exists()
    if "replay" not in words.split(" asks")[0] or "share" in words:
        assert not rows_in(tmp_path / "buffer", "waiting")


def test_no_model_is_written_over(world: Path, tmp_path: Path) -> None:
    asked = order(world, tmp_path / "buffer", list(HONEST))
    done = refresh.run(asked, tmp_path / "out", silent)
    with pytest.raises(InvalidInput, match="is there, and no model is written over"):
        refresh.run(asked | {"model": done["reward"]}, tmp_path / "out", silent)
