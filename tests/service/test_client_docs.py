"""What docs/client.md tells people to write works as it stands there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from heedful.domain.access import OPERATOR
from heedful.domain.episode import Episode
from heedful.domain.feedback import Confirmation, Correction, Efficiency, Feedback, Rating
from heedful.road import Parts

from .conftest import released

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[None]:
    """A directory of its own: the page writes a spool into the one it is in."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)


@pytest.mark.usefixtures("elsewhere")
def test_the_page_works(http: TestClient, served: str, parts: Parts) -> None:
    released(http, "support", "echo")
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(programs) == 3
    names: dict[str, Any] = {}
    for program in programs:
        exec(program.replace("http://127.0.0.1:8080", served), names)
    names["heedful"].close()
    found = {type(one.said) for one in parts.store.find(Feedback, OPERATOR)}
    assert found == {Rating, Correction, Confirmation, Efficiency}
    assert {one.user for one in parts.store.find(Episode, OPERATOR)} == {"u-1", "ada"}
