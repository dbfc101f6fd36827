"""`heedful runs`: trainings side by side, and one as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from heedful.cli import main
from heedful.lm.load import save
from heedful.lm.records import write_records
from heedful.lm.tiny import TinyShape, make_tiny

PROMPTS = ("where is it", "it broke", "i want <b>my</b> money", "stop it")
SMALL = ("iterations=2", "batch=4", "group=2", "max_tokens=8")


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    told = capsys.readouterr()
    assert ended.value.code == code, told.err
    return told.out, told.err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the same data with different seeds and rates; one of them with people who look."""
    root = tmp_path_factory.mktemp("runs")
    texts = [*PROMPTS, "yes of course.", "no, go away."] * 5
    save(make_tiny(texts, shape=TinyShape(width=32, layers=2, heads=2, vocabulary=320)), root / "base")
    rows = [{"prompt": one, "chosen": "yes of course.", "rejected": "no, go away."} for one in PROMPTS * 10]
    write_records(root / "rows.jsonl", rows)
    trained(root, "sparse", "judge", "held_out=0")
    judge = f"reward_model={root / 'judge' / 'reward'}"
    trained(root, "grpo", "one", judge, *SMALL)
    audit = 'audit={"auditor": "heedful.simulation.auditors:crowd", "every": 1, "pairs": 4}'
    trained(root, "grpo", "two", judge, *SMALL, "seed=1", "rate=1e-3", audit)
    return root


def trained(root: Path, method: str, out: str, *options: str) -> None:
    order = ["train", method, str(root / "rows.jsonl"), "--out", str(root / out)]
    order += [] if method == "sparse" else ["--model", str(root / "base")]
    with pytest.raises(SystemExit) as ended:
        main([*order, *(part for one in options for part in ("-o", one)), "--json"])
    assert ended.value.code == 0


def test_a_run_leaves_a_card_with_all_that_it_was_made_from(place: Path) -> None:
    card: dict[str, Any] = json.loads((place / "one" / "run.json").read_text())
    assert card["method"] == "grpo"
    assert set(card["digests"]) == {"prompts", "model", "reward_model"}
    assert card["spec"]["iterations"] == 2
    assert (card["result"]["stopped"], card["result"]["iterations"]) == ("done", 2)
    assert card["result"]["tokens"] > 0
    assert card["seconds"] >= card["result"]["seconds"] > 0
    assert set(card["versions"]) >= {"heedful", "torch", "python"}
    shown = [json.loads(line) for line in (place / "one" / "samples.jsonl").read_text().splitlines()]
    assert {"prompt", "before", "after"} == set(shown[0])


def test_runs_are_compared_by_what_differs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(place / name) for name in ("one", "two")]
    found = json.loads(said(capsys, 0, "runs", "compare", *runs, "--json")[0])
    assert found["runs"] == runs
    assert found["settings"]["seed"] == [0, 1]
    assert found["settings"]["rate"] == [4e-4, 1e-3]
    assert "iterations" not in found["settings"]
    assert len(set(found["data"]["prompts"])) == 1
    assert len(found["figures"]["kl"]) == 2
    told = said(capsys, 0, "runs", "compare", *runs)[0]
    assert "rate" in told
    assert "not the same" not in told


def test_other_data_is_told(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (place / "rows.jsonl").read_text().splitlines()[:8]
    write_records(tmp_path / "rows.jsonl", map(json.loads, lines))
    trained(tmp_path, "sparse", "judge", "held_out=0")
    capsys.readouterr()
    told = said(capsys, 0, "runs", "compare", str(place / "judge"), str(tmp_path / "judge"))[0]
    assert "not the same preferences" in told


def test_a_run_becomes_a_page_with_people_beside_the_reward(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, 0, "runs", "report", str(place / "two"))[0].strip()
    page = Path(told).read_text()
    assert told == str(place / "two" / "report.html")
    assert "preferred to the start" in page
    assert "&lt;b&gt;my&lt;/b&gt;" in page
    assert "<b>my</b>" not in page
    assert "http" not in page.replace("http-equiv", "")
    err = said(capsys, 2, "runs", "report", str(place / "two"), "--page", str(tmp_path / "no" / "page"))[1]
    assert "cannot be written: No such file or directory" in " ".join(err.split())
    alone = said(capsys, 0, "runs", "report", str(place / "one"), "--page", str(tmp_path / "page.html"))[0]
    assert "Nobody was asked" in Path(alone.strip()).read_text()


@pytest.mark.parametrize(
    ("order", "code", "why"),
    [
        (("compare", "one"), 2, "nothing to be compared with"),
        (("compare", "one", "nowhere"), 1, "holds no run"),
        (("report", "nowhere"), 1, "holds no run"),
        (("report", "judge"), 2, "only grpo and ppo"),
        (("compare", "one", "torn"), 2, "is no card of a run"),
    ],
)
def test_what_is_no_run_is_refused_by_name(
    place: Path, capsys: pytest.CaptureFixture[str], order: tuple[str, ...], code: int, why: str
) -> None:
    (place / "torn").mkdir(exist_ok=True)
    (place / "torn" / "run.json").write_text("{")
    command, *runs = order
    out, err = said(capsys, code, "runs", command, *(str(place / one) for one in runs))
    assert why in " ".join(err.split())
    assert not out
