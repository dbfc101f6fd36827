"""`heedful eval reward`: from a model directory and a file to a card, a page, and an exit code."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from heedful.cli import main
from heedful.lm.load import save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny
from heedful.rewards import fit

GOOD, BAD = "All is good.", "All is bad, and it is long."


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory; what judges is one of `judges`."""
    root = tmp_path / "model"
    root.mkdir()
    (root / "reward.json").write_text("{}")
    return root


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["eval", "reward", *map(str, arguments)])
    told = capsys.readouterr()
    assert ended.value.code == code, told.err + told.out
    return told.out if code < 2 and told.out else told.err


def card(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(capsys, code, *arguments, "--json"))
    return found


def pairs(path: Path, count: int = 40, **rest: Any) -> Path:
    """The shorter answer is the good one."""
    write_records(
        path,
        [
            {
                "prompt": f"how is it, {n}?",
                "chosen": f"{n}. {GOOD}",
                "rejected": f"{n}. {BAD}",
                "product": "shop" if n % 4 else "bank",
                "more": {"language": "en"},
                **rest,
            }
            for n in range(count)
        ],
    )
    return path


def test_a_judge_that_likes_length_does_not_pass(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(tmp_path / "pairs.jsonl")
    order = ("--model", model, "--data", data, "-o", "loader=judges:likes_length")
    found = card(capsys, 1, *order)
    assert found["quality"]["accuracy_when_shorter_won"] == 0
    assert found["failed"]["min_shorter_won"] == {"value": 0.0, "limit": 0.3}
    assert {"probes.repeated.rise", "probes.padded.rise", "probes.praise.rise"} <= set(found["failed"])
    assert not found["passed"]
    shown = said(capsys, 1, *order, "--explain")
    assert "did not pass" in shown
    assert "min_shorter_won is 0, the limit 0.3" in shown
    assert "All is bad, and it is long." in shown


def test_the_model_runs_where_it_is_told_to(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(tmp_path / "pairs.jsonl")
    card(capsys, 1, "--model", model, "--data", data, "-o", "loader=judges:placed", "-o", "device=cuda:1")


def test_a_judge_that_reads_passes_and_its_doubt_is_looked_at(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(tmp_path / "pairs.jsonl")
    away = pairs(tmp_path / "away.jsonl", rejected="far away " * 30)
    order = ("--model", model, "--data", data, "-o", "loader=judges:doubting")
    found = card(capsys, 0, *order, "--slice", "product", "--slice", "more.language", "--elsewhere", away)
    assert found["passed"]
    assert found["quality"]["accuracy"] == 1.0
    assert [(one["value"], one["n"]) for one in found["slices"]["product"]] == [("shop", 30), ("bank", 10)]
    assert found["slices"]["more.language"][0]["value"] == "en"
    assert found["disagreement"]["outside"] > found["disagreement"]["inside"]
    assert all(one["passed"] for one in found["probes"].values())
    assert "passed" in said(capsys, 0, *order)


def test_votes_agreement_and_noise_give_a_ceiling(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ("--model", model, "-o", "loader=judges:doubting", "-o", "probed=0")
    votes = pairs(tmp_path / "votes.jsonl", votes=[3, 1])
    assert card(capsys, 0, *order, "--data", votes)["raters"] == {
        "by": "votes",
        "model": 0.75,
        "ceiling": 0.75,
        "of_ceiling": 1.0,
        "pairs": 40.0,
    }
    agreement = pairs(tmp_path / "agreement.jsonl", agreement=0.8)
    assert card(capsys, 0, *order, "--data", agreement)["raters"]["ceiling"] == pytest.approx(0.8)
    plain = pairs(tmp_path / "plain.jsonl")
    assert card(capsys, 0, *order, "--data", plain)["raters"] is None
    assert card(capsys, 0, *order, "--data", plain, "--noise", "0.2")["raters"]["by"] == "noise"


def test_a_benchmark_of_either_shape_is_told_by_subset_and_section(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(
        tmp_path / "bench.jsonl",
        [
            {"prompt": "a", "chosen": "good", "rejected": "bad", "subset": "mt-bench-easy"},
            {"prompt": "b", "chosen": "bad", "rejected": "good", "subset": "mt-bench-hard"},
            {"prompt": "c", "chosen": ["good"], "rejected": ["bad", "so", "bad."], "subset": "Focus"},
            {"prompt": "d", "chosen": "good", "rejected": ["bad", "good?", "bad."], "subset": "Focus"},
            {"prompt": "e", "chosen": ["good", "very good"], "rejected": ["bad"], "subset": "Ties"},
        ],
    )
    found = card(
        capsys, 0, "--model", model, "--data", tmp_path / "bench.jsonl", "-o", "loader=judges:doubting"
    )
    # An answer that only draws level with a wrong one is not right.
    assert found["suite"]["sections"] == {"Chat": 1.0, "Chat Hard": 0.0, "Focus": 0.5, "Ties": 1.0}
    assert found["suite"]["mean"] == 0.625


def test_answers_with_scores_and_ties_have_their_place(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "a", "answer": "good " * n, "score": n * n} for n in range(1, 9)]
    rows += [{"prompt": "a", "chosen": "x", "rejected": "good yy", "tie": True}]
    write_records(tmp_path / "scored.jsonl", rows)
    order = ("--model", model, "--data", tmp_path / "scored.jsonl", "-o", "loader=judges:likes_length")
    found = card(capsys, 0, *order)
    assert found["correlation"]["spearman"] == pytest.approx(1.0)
    assert found["correlation"]["answers"] == 8
    assert "quality" not in found
    assert "spearman with given scores" in said(capsys, 0, *order)


def test_the_page_stands_alone_and_shows_what_was_found(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(tmp_path / "pairs.jsonl", product="<script>alert(1)</script>")
    page = tmp_path / "card.html"
    order = ("--model", model, "--data", data, "-o", "loader=judges:likes_length", "--slice", "product")
    said(capsys, 1, *order, "--explain", "--html", page)
    text = page.read_text()
    assert "did not pass" in text
    assert "Reliability diagram" in text
    assert "min_shorter_won" in text
    assert "<script" not in text  # what people wrote stays text
    assert not re.search(r"""(src|href)=|url\(|@import""", text)  # nothing from elsewhere
    assert "prefers-color-scheme: dark" in text
    HTMLParser().feed(text)
    said(capsys, 1, *order, "--explain", "--html", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == text


def test_a_second_look_asks_the_model_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(tmp_path / "pairs.jsonl")
    order = ("--model", model, "--data", data, "--cache", tmp_path / "scores.db")
    first = card(capsys, 0, *order, "-o", "loader=judges:doubting")
    again = card(capsys, 0, *order, "-o", "loader=judges:likes_length")  # which would not pass
    assert again == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "{pairs}"], "model: field required"),
        (["--model", "{model}", "--data", "nowhere.jsonl"], "no file 'nowhere.jsonl'"),
        (["--model", "nowhere", "--data", "{pairs}"], "'nowhere' is no directory with files"),
        (["--model", "{model}", "--data", "{pairs}"], "cannot load a causal language model"),
        (["--model", "{model}", "--data", "{pairs}", "-o", "loader=judges"], "loader: 'judges' is no"),
        (
            ["--model", "{model}", "--data", "{pairs}", "-o", "loader=judges:none"],
            "loader: 'judges:none' is no",
        ),
        (["--model", "{model}", "--data", "{pairs}", "--slice", "where"], "no row says 'where'"),
        (["--model", "{model}", "--data", "{votes}"], "how many were for the chosen"),
        (["--model", "{model}", "--data", "{bare}"], "neither a numeric `score` nor a `violation`"),
        (["--model", "{model}", "--data", "{empty}"], "nothing to examine"),
        (["--model", "{model}", "--data", "{pairs}", "-o", "objective=kindness"], "gives no 'kindness'"),
        (
            ["--model", "{model}", "--data", "{pairs}", "-o", "bounds={{min_acuracy: 1}}"],
            "min_acuracy: extra",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    files = {name: tmp_path / f"{name}.jsonl" for name in ("pairs", "votes", "bare", "empty")}
    pairs(files["pairs"])
    pairs(files["votes"], votes="many")
    write_records(files["bare"], [{"prompt": "a", "answer": "b"}])
    write_records(files["empty"], [])
    filled = [one.format(model=model, **files) for one in arguments]
    if not any("loader" in one for one in filled) and "cannot load" not in words:
        filled += ["-o", "loader=judges:doubting"]
    assert words in said(capsys, 2, *filled)


def test_a_model_that_was_fitted_is_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [GOOD, BAD, "how is it, 1?"] * 10
    save(make_tiny(texts, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=300)), tmp_path / "base")
    data = pairs(tmp_path / "pairs.jsonl", 60)
    spec = {
        "model": str(tmp_path / "base"),
        "preferences": str(data),
        "epochs": 8,
        "held_out": 0.5,
        "rate": 3e-3,
    }
    done = fit.run(spec, tmp_path / "out", lambda step, figures: None)
    assert done["report"]["passed"] is True
    found = card(capsys, 0, "--model", done["reward"], "--data", data, "--explain", "-o", "probed=0")
    assert found["quality"]["accuracy"] > 0.9
    assert found["digest"]
    saved = json.loads((Path(done["reward"]) / "reward.json").read_text())
    assert saved["report"]["failed"] == {}
    strict = fit.run(
        spec | {"bounds": {"fewest": 1, "max_log_loss": 0}}, tmp_path / "strict", lambda *_: None
    )
    assert strict["report"]["passed"] is False
    assert strict["report"]["failed"]["max_log_loss"]["limit"] == 0
