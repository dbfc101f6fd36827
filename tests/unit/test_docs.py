"""The documentation names everything that is public, and nothing that is not there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from heedful.settings import names

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "scripts" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


reference = _reference()


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_reference_is_what_the_code_says(name: str) -> None:
    page = (DOCS / name).read_text()
    assert page == reference.PAGES[name](), f"docs/{name} is old: run scripts/make_reference.py"


def test_every_command_is_in_the_docs() -> None:
    page = (DOCS / "commands.md").read_text()
    paths = [" ".join(command.path) for command in reference.walked()]
    assert {"heedful show", "heedful audit verify", "heedful keys issue"} <= set(paths)
    assert [path for path in paths[1:] if f"## {path}\n" not in page] == []


def test_every_setting_is_in_the_docs() -> None:
    page = (DOCS / "settings.md").read_text()
    assert [name for name in names() if f"`{name}`" not in page] == []


def test_every_route_is_in_the_docs() -> None:
    page = (DOCS / "api.md").read_text()
    routes = [
        f"`{method} {route.path}`"
        for route in reference.answered()
        for method in route.methods - {"HEAD", "OPTIONS"}
    ]
    assert len(routes) > 20
    assert [route for route in routes if route not in page] == []


def test_every_route_says_what_it_does_and_who_may() -> None:
    assert [path for _, path, about, scopes in reference.routes() if not about or not scopes] == []


def test_commands_that_the_docs_speak_of_are_there() -> None:
    known = {command.path[1:] for command in reference.walked()}
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for match in re.finditer(r"(?:^|`)heedful((?: [a-z]+)+)", page.read_text(), re.MULTILINE):
            words = tuple(match[1].split())
            said = (words[:2], words[:1]) if words[0] in ("audit", "keys") else (words[:1],)
            assert known.intersection(said), f"{page.relative_to(ROOT)} speaks of `heedful{match[1]}`"


def test_every_page_of_the_reference_is_in_the_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    pages = [page for entry in yaml.safe_load(contents) for page in entry.values() if isinstance(page, str)]
    assert set(reference.PAGES) <= set(pages)
