"""Every route with every scope: nothing is reached without the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI

from heedful.access.permissions import ALLOWED, Action
from heedful.domain.access import Scope
from heedful.domain.ids import PersonId, TenantId
from heedful.service.api import ROUTES, build
from heedful.service.door import keyring
from parts import make_parts

from .conftest import QuietLoop, local

DOORS = [  # what is not in the API's table: method, path, action
    ("POST", "/v1/chat/completions", Action.ANSWER),
    ("POST", "/v1/responses", Action.ANSWER),
    ("POST", "/v1/embeddings", Action.ANSWER),
    ("POST", "/e/ep/a/resolver/v1/chat/completions", Action.ANSWER),
    ("POST", "/e/ep/a/resolver/v1/responses", Action.ANSWER),
    ("POST", "/e/ep/a/resolver/v1/embeddings", Action.ANSWER),
    ("GET", "/e/ep/a/resolver/v1/models", Action.ANSWER),
    ("GET", "/e/ep/a/resolver/v1/models/resolver", Action.ANSWER),
    ("GET", "/v1/models", Action.ANSWER),
    ("GET", "/v1/models/resolver", Action.ANSWER),
    ("POST", "/v1/traces", Action.WORK),
    ("GET", "/metrics", Action.OPERATE),
]
OPEN = {"/healthz", "/readyz", "/openapi.json", "/widget.js"}
ADDRESSES = [
    (route.method, re.sub(r"\{\w+(:path)?\}", "x", route.path), route.action) for route in ROUTES
] + DOORS


class House(NamedTuple):
    app: FastAPI
    keys: dict[Scope, str]
    strangers: str  # an admin's key of another tenant


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    parts = make_parts(folder)
    needs: dict[Scope, dict[str, Any]] = {
        Scope.RATER: {"person": PersonId("rita")},
        Scope.WIDGET: {"origin": "https://shop.example"},
    }
    keys = {
        scope: keyring.issue(parts, TenantId("default"), scope, actor="test", **needs.get(scope, {})).text
        for scope in Scope
    }
    strangers = keyring.issue(parts, TenantId("other"), Scope.ADMIN, actor="test").text
    yield House(build(parts, QuietLoop(parts)), keys, strangers)
    parts.store.close()


def send(house: House, key: str | None, method: str, path: str) -> int:
    client = local(house.app, key, origin="https://shop.example")
    return client.request(method, path, json={} if method == "POST" else None).status_code


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize(("method", "path", "action"), ADDRESSES, ids=lambda value: str(value)[:40])
def test_a_route_lets_in_those_who_may_and_nobody_else(
    house: House, method: str, path: str, action: Action, scope: Scope
) -> None:
    status = send(house, house.keys[scope], method, path)
    if action in ALLOWED[scope]:
        assert status not in {401, 403, 500}
    else:
        assert status == 403


@pytest.mark.parametrize(("method", "path", "action"), ADDRESSES, ids=lambda value: str(value)[:40])
def test_a_route_lets_nobody_in_without_a_key(house: House, method: str, path: str, action: Action) -> None:
    refused = {401, 429}  # so many wrong keys from one address have to wait
    assert send(house, None, method, path) in refused
    assert send(house, house.keys[Scope.ADMIN] + "x", method, path) in refused
    assert send(house, "hk_nobody.secret", method, path) in refused


def test_the_whole_servers_metrics_are_the_operators(house: House) -> None:
    assert send(house, house.strangers, "GET", "/metrics") == 403


def test_no_address_is_missing_here(house: House) -> None:
    here = {path for _, path, _ in ADDRESSES} | OPEN
    found = {re.sub(r"\{\w+(:path)?\}", "x", getattr(route, "path", "")) for route in house.app.routes}
    assert {
        path.replace("/e/x/a/x/", "/e/ep/a/resolver/").replace("/v1/models/x", "/v1/models/resolver")
        for path in found
    } <= here


def test_every_address_is_in_the_document(house: House) -> None:
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "x", path))
        for path, operations in house.app.openapi()["paths"].items()
        for method in operations
    }
    ours = {
        (method, path.replace("/ep/a/resolver/", "/x/a/x/").replace("/models/resolver", "/models/x"))
        for method, path, _ in ADDRESSES
    }
    assert documented == ours | {("GET", path) for path in OPEN - {"/openapi.json"}}


def test_the_document_says_who_may(house: House) -> None:
    for path, operations in house.app.openapi()["paths"].items():
        for method, one in operations.items():
            assert ("security" in one) == (path not in OPEN)
            assert ("Needs the permission to" in one["description"]) == (path not in OPEN), (method, path)


def test_health_is_open(house: House) -> None:
    assert {send(house, None, "GET", path) for path in OPEN} == {200}
