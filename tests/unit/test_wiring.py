"""Settings in, adapters out."""

from __future__ import annotations

from pathlib import Path

import pytest

from heedful.settings import load
from heedful.wiring import durable_engine


@pytest.mark.parametrize("kind", ["postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_the_loops_tables_are_reached_by_the_driver_that_comes_along(tmp_path: Path, kind: str) -> None:
    url = f"{kind}://heedful@nowhere/heedful"
    settings = load(tmp_path, environment={}, overrides=[f"database={url}"])
    assert durable_engine(settings).url.render_as_string() == "postgresql+psycopg://heedful@nowhere/heedful"
