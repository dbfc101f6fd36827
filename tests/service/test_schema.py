"""The API is what its document says: whatever the document allows is sent, and what it forbids too.

`HEEDFUL_SCHEMA_EXAMPLES=500` sends more than the handful that every run can afford.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from heedful.service.api import ROUTES, build
from heedful.service.gateway import INSIDE
from heedful.service.pages import openapi
from heedful.settings import ServerSettings, Settings
from parts import make_parts

from .conftest import QuietLoop, asked, local, released

# Of how schemathesis and the test client speak with each other.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXAMPLES = int(os.environ.get("HEEDFUL_SCHEMA_EXAMPLES", "8"))
FAST = Settings(server=ServerSettings(requests_per_second=1e6))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# What is there, so that not everything ends with "not known here".
KNOWN = ("resolver", "resolver@1", "turn_1", "episode_1", "queue_1", "feedback_1")
FIELDS = {"model": "resolver", "agent": "resolver", "policy": "resolver@1", "turn": "turn_1"}
OPERATIONS = [(route.method, route.path.replace(":path}", "}")) for route in ROUTES] + [
    (one.method.upper(), one.path) for one in openapi.operations(INSIDE)
]
MODES = [  # with a key, and what is sent
    (True, GenerationMode.POSITIVE),
    (True, GenerationMode.NEGATIVE),
    (False, GenerationMode.POSITIVE),
]


class House(NamedTuple):
    """One with a little in it, somebody at its door, and what they were told of it."""

    http: TestClient
    document: BaseSchema


@pytest.fixture(scope="module")
def house_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, bool], House]]:
    """`house_for(name, with_key)` is the house of that name, built when it is first asked for."""
    built: dict[tuple[str, bool], House] = {}
    with ExitStack() as stack:

        def house(name: str, with_key: bool) -> House:
            if (name, with_key) not in built:
                built[name, with_key] = _built(tmp_path_factory.mktemp(name), with_key, stack)
            return built[name, with_key]

        yield house


def _built(folder: Path, with_key: bool, stack: ExitStack) -> House:
    parts = make_parts(folder)
    stack.callback(parts.store.close)
    app = build(parts, QuietLoop(parts), FAST)
    http = stack.enter_context(local(app))
    released(http, "resolver", "echo")
    asked(http, heedful={"turn": "turn_1", "episode": "episode_1"})
    thumb = {"id": "feedback_1", "turn": "turn_1", "said": {"form": "thumbs", "up": True}}
    assert http.post("/v1/feedback", json=thumb).status_code == 201
    queue = {"id": "queue_1", "name": "Which?", "asks": "choice", "instructions": "Pick."}
    assert http.post("/v1/queues", json=queue).status_code == 201
    if with_key:
        key = http.post("/v1/keys", json={"scope": "admin"}).json()["text"]
        http.headers["authorization"] = f"Bearer {key}"
    return House(http, schemathesis.openapi.from_dict(_without_keys(app.openapi())))


def _without_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Who is at the door is for `House` to say: the trial shall not try out keys of its own."""
    return {
        **document,
        "paths": {
            path: {method: {**one, "security": []} for method, one in operations.items()}
            for path, operations in document["paths"].items()
        },
    }


@pytest.mark.parametrize(("with_key", "mode"), MODES, ids=["key-allowed", "key-forbidden", "no key-allowed"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_address_answers_as_its_document_says(
    house_for: Callable[[str, bool], House], method: str, path: str, with_key: bool, mode: GenerationMode
) -> None:
    # Whoever issues the first key ends the time without keys.
    house = house_for("keys" if path == "/v1/keys" else "house", with_key)
    operation = house.document[path][method]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        derandomize=EXAMPLES < 100,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.sampled_from((None, *KNOWN)))
    def send(case: Case[Any], known: str | None) -> None:
        if mode is GenerationMode.POSITIVE and known is not None:
            case.path_parameters.update({name: known for name in case.path_parameters if name != "kind"})
            if isinstance(case.body, dict):
                case.body.update({name: id for name, id in FIELDS.items() if name in case.body})
        answer = house.http.request(**case.as_transport_kwargs(base_url="http://127.0.0.1"))
        # A list of feedback has a result for each of its pieces, and the bad ones are refused there. What is too
        # large is refused unread, which the check does not count as a refusal.
        refused = [] if answer.status_code in (207, 413) else [negative_data_rejection]
        case.validate_response(answer, checks=[*CHECKS, *refused])

    try:
        send()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # there is nothing that could be wrong in it


def test_without_a_good_key_every_address_says_so(house_for: Callable[[str, bool], House]) -> None:
    house = house_for("house", True)
    for method, path in OPERATIONS:
        said = house.document[path][method].definition.raw["responses"]
        answer = house.http.request(method, path, headers={"authorization": "Bearer hk_no.no"})
        assert str(answer.status_code) in said, (method, path)
        assert answer.status_code in (401, 429) or path in ("/healthz", "/readyz", "/widget.js")
