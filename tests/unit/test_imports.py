"""Who may load torch, and who may know the simulation: every module is walked, so that none is forgotten."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import heedful
import startup

ROOT = Path(str(heedful.__file__)).parent
LEARNING = ("rewards", "training", "guards", "lm")


def test_only_modules_on_the_allow_list_load_torch() -> None:
    assert startup.loaded_by([name for name in startup.modules() if not startup.allowed(name)]) == {}


def test_settings_are_not_on_the_allow_list() -> None:
    settings = [name for name in startup.modules() if name.endswith("settings")]
    assert len(settings) >= 4
    assert [name for name in settings if startup.allowed(name)] == []


def test_the_allow_list_names_modules_that_are_there() -> None:
    for pattern in startup.MAY_LOAD_TORCH:
        name = pattern.removesuffix(".*")
        assert name in startup.modules(), f"{pattern} is on the allow-list and nowhere else"


@pytest.mark.parametrize(
    "name", ["heedful", "heedful.app", "heedful.cli", "heedful.worker", "heedful.wiring"]
)
def test_what_a_server_starts_from_is_walked(name: str) -> None:
    assert name in startup.modules()
    assert not startup.allowed(name)


def test_a_module_that_loads_torch_is_named() -> None:
    assert startup.loaded_by(["heedful.errors", "heedful.lm.heads", "heedful.domain.ids"]) == {
        "heedful.lm.heads": ["torch"]
    }


@pytest.mark.parametrize("room", LEARNING)
def test_what_learns_never_sees_the_simulation(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        for name in _imported(file):
            assert not name.startswith("heedful.simulation"), f"{file.relative_to(ROOT)} imports {name}"


def _imported(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found
