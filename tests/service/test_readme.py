"""What the first page tells people to write works as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from heedful.domain.access import OPERATOR
from heedful.domain.feedback import Feedback, Thumbs
from heedful.inference.scripted import ScriptedInference
from heedful.inference.upstreams import Upstreams
from heedful.road import Parts
from parts import SCRIPTS, make_parts

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """With the model server that the page speaks of."""
    hosted = ScriptedInference({"your-model": SCRIPTS["echo"]})
    made = make_parts(tmp_path, inference=Upstreams(hosted, {"vllm": hosted}))
    yield made
    made.store.close()


def test_the_five_lines_work(parts: Parts, served: str) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(program.replace("http://127.0.0.1:8080", served), {})
    (said,) = parts.store.find(Feedback, OPERATOR)
    assert said.said == Thumbs(up=True)
    assert said.policy == "support@1"
