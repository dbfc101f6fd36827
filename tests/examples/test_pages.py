"""What the pages show is a piece of an example that runs, and settings that are read."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from heedful.settings import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("agents.md", "hosted.md")
PROGRAMS = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.py"))}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_every_program_is_a_piece_of_an_example(page: str) -> None:
    shown = blocks(page, "python")
    assert len(shown) >= 3
    assert [block for block in shown if not any(block in program for program in PROGRAMS.values())] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_is_read(page: str, tmp_path: Path) -> None:
    for place, block in enumerate(blocks(page, "yaml")):
        file = tmp_path / f"{place}.yaml"
        file.write_text(textwrap.dedent(block))
        load(tmp_path, file=file, environment={})


def test_every_example_is_run_and_spoken_of() -> None:
    run = (ROOT / "tests" / "examples" / "test_examples.py").read_text()
    assert [name for name in PROGRAMS if f'"{name}"' not in run] == []
    assert len(PROGRAMS) == 6
