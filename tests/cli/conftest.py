"""A command line in this process, and a directory that has something to show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli import _filled
from heedful import cli


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Heedful = Callable[..., Said]


@pytest.fixture
def heedful(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Heedful:
    """`heedful("status", "--json")`, as from a shell."""
    monkeypatch.delenv(cli.KEY, raising=False)

    def run(*arguments: str | Path) -> Said:
        capsys.readouterr()
        code = 0
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filled once: whoever writes takes `directory`."""
    place = tmp_path_factory.mktemp("story")
    _filled.fill(place / "heedful-data")
    return place


@pytest.fixture
def directory(story: Path, tmp_path: Path) -> Path:
    """A copy of the story for this one test."""
    return Path(shutil.copytree(story, tmp_path / "story"))
