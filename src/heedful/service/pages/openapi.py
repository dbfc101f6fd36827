"""What `/openapi.json` says: of every address what it takes, what it gives, and each error that it can give.

FastAPI knows the routes that it calls. Those that are answered at the door (`door/front.py`), and those for whoever
runs the server, stand in tables here, and a test finds the one that is missing. An error that a route can give
and does not name is as wrong as a field that is not there: clients are generated from this page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from heedful.access.permissions import Action
from heedful.domain.ids import ID_PATTERN
from heedful.wire import ChatRequest, EmbeddingsRequest, ErrorBody

Json = dict[str, Any]

REFUSALS: Mapping[int, str] = {
    400: "What came does not read, as JSON or as an address.",
    401: "No valid key came with the request: send one.",
    402: "This key has spent its budget of this month.",
    403: "This key may not do that.",
    404: "There is no such thing in this tenant.",
    408: "The body did not come in time: send it again.",
    409: "What is there does not allow this now: read it, then decide.",
    413: "More than is taken in one piece.",
    415: "It is in a form that is not read here: the message says which are.",
    422: "Something in it cannot be: `error.param` names the field.",
    429: "More than this key may send: wait as long as `Retry-After` says.",
    503: "Something does not answer or is full: wait as long as `Retry-After` says.",
}
WAITS = (429, 503)

ID = {"type": "string", "pattern": ID_PATTERN}
ANY: Json = {"type": "object", "additionalProperties": True}
EVENTS: Json = {}  # OpenAPI 3.1 has no words for a stream: one reader takes it as a text, another event by event
LIST: Json = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": ANY}},
}
REFS = "#/components/schemas/{model}"
SHAPES: tuple[type[BaseModel], ...] = (ChatRequest, EmbeddingsRequest, ErrorBody)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One address that FastAPI does not call: what there is to say about it."""

    method: Literal["get", "post"]
    path: str
    about: str
    action: Action | None  # None: it is open to everybody
    takes: Json | None = None
    gives: Mapping[str, Json]  # by content type, when it went well
    refuses: tuple[int, ...] = ()  # beyond those that its shape tells
    declines: bool = False  # whoever answers may refuse with any status of its own


def refusals(
    method: str, path: str, *, queried: bool = False, private: bool = True, more: Iterable[int] = ()
) -> list[int]:
    """The errors that follow from a route's shape."""
    found = {*more, *((401, 403, 429, 503) if private else ())}
    if method == "POST":
        found |= {400, 409, 413, 422}
    if method == "DELETE":
        found |= {409}
    if "{" in path:
        found |= {404, 422}
    if queried:
        found |= {422}
    return sorted(found)


def refusal(status: int) -> Json:
    """As FastAPI and OpenAPI both take it, but for the shape."""
    headers = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return {"description": REFUSALS[status], **({"headers": headers} if status in WAITS else {})}


def taken(shape: Any) -> Json:
    """For a handler that reads its body itself: what the body looks like."""
    schema = TypeAdapter(shape).json_schema(ref_template=REFS)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


# -- the addresses that FastAPI does not know ------------------------------------------------------------


def _shape(model: type[BaseModel]) -> Json:
    return {"$ref": REFS.format(model=model.__name__)}


_ANSWERS: tuple[Operation, ...] = (
    Operation(
        method="post",
        path="/v1/chat/completions",
        about="An answer from the agent's policy; `model` names the agent. Its id comes back.",
        action=Action.ANSWER,
        takes=_shape(ChatRequest),
        gives={"application/json": ANY, "text/event-stream": EVENTS},
        refuses=(402, 404, 408),
        declines=True,
    ),
    Operation(
        method="post",
        path="/v1/responses",
        about="The same in the words of OpenAI's Responses.",
        action=Action.ANSWER,
        takes={**ANY, "required": ["model", "input"]},
        gives={"application/json": ANY, "text/event-stream": EVENTS},
        refuses=(402, 404, 408),
        declines=True,
    ),
    Operation(
        method="post",
        path="/v1/embeddings",
        about="Passed on to the server of the agent's policy. Nothing of it is kept.",
        action=Action.ANSWER,
        takes=_shape(EmbeddingsRequest),
        gives={"application/json": ANY},
        refuses=(404, 408),
        declines=True,
    ),
    Operation(
        method="get",
        path="/v1/models",
        about="The agents that have a policy, as models.",
        action=Action.ANSWER,
        gives={"application/json": LIST},
    ),
    Operation(
        method="get",
        path="/v1/models/{id}",
        about="One agent, as a model.",
        action=Action.ANSWER,
        gives={"application/json": ANY},
    ),
)

_TRACES = Operation(
    method="post",
    path="/v1/traces",
    about="OpenTelemetry spans, as OTLP exporters send them (JSON, or protobuf, packed or not).",
    action=Action.WORK,
    takes=ANY,
    gives={"application/json": ANY, "application/x-protobuf": {"type": "string", "format": "binary"}},
    refuses=(408, 415),
)

_OF_THE_SERVER: tuple[Operation, ...] = (
    Operation(
        method="get",
        path="/healthz",
        about="The process runs.",
        action=None,
        gives={"application/json": ANY},
    ),
    Operation(
        method="get",
        path="/readyz",
        about="The database reads and writes, and the disk has room.",
        action=None,
        gives={"application/json": ANY},
        refuses=(503,),
    ),
    Operation(
        method="get",
        path="/metrics",
        about="Counts and times of the whole server, for Prometheus.",
        action=Action.OPERATE,
        gives={"text/plain": {"type": "string"}},
    ),
    Operation(
        method="get",
        path="/widget.js",
        about="The feedback widget, for a script tag in a page of yours.",
        action=None,
        gives={"text/javascript": {"type": "string"}},
    ),
)


def operations(inside: str) -> Iterator[Operation]:
    """All of them; those of the gateway also under the address of an episode and an agent."""
    yield from _ANSWERS
    part = "As part of an episode, for clients that can only be given a base address."
    yield from (replace(one, path=inside + one.path, about=f"{one.about} {part}") for one in _ANSWERS)
    yield _TRACES
    yield from _OF_THE_SERVER


# -- the document ----------------------------------------------------------------------------------------


def describe(app: FastAPI, *, inside: str) -> None:
    """From now on the app's document is whole. `inside` is the address of an episode's agent."""
    of_fastapi, more = app.openapi, list(operations(inside))

    def whole() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(of_fastapi(), more)
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]


def _completed(document: Json, others: Iterable[Operation]) -> Json:
    parts = document.setdefault("components", {})
    _, shapes = models_json_schema([(shape, "validation") for shape in SHAPES], ref_template=REFS)
    parts["schemas"] = {**shapes["$defs"], **parts.get("schemas", {})}
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path in document["paths"].values():
        for operation in path.values():
            operation["security"] = [{"key": []}]
            for one in operation.get("parameters", ()):
                if one["in"] == "path" and one["name"] == "id":
                    one["schema"] |= ID
            for content in operation.get("requestBody", {}).get("content", {}).values():
                parts["schemas"] |= content["schema"].pop("$defs", {})
    for one in others:
        document["paths"].setdefault(one.path, {})[one.method] = _written(one)
    return document


def _written(one: Operation) -> Json:
    name = "_".join(piece.strip("{}") for piece in one.path.split("/") if piece)
    said: Json = {
        "summary": one.about.partition(".")[0],
        "description": _needs(one.about, one.action),
        "operationId": f"{name}_{one.method}",
        "responses": _responses(one),
    }
    # A question for models does not look at the episode in whose address it came.
    looked_at = {"id"} if one.method == "get" else {"episode", "agent"}
    names = [piece.strip("{}") for piece in one.path.split("/") if piece.startswith("{")]
    if names:
        said["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": ID if name in looked_at else {"type": "string"},
            }
            for name in names
        ]
    if one.action is not None:
        said["security"] = [{"key": []}]
    if one.takes is not None:
        said["requestBody"] = {"required": True, "content": {"application/json": {"schema": one.takes}}}
    return said


def _responses(one: Operation) -> Json:
    error = {"application/json": {"schema": _shape(ErrorBody)}}
    said: Json = {
        "200": {
            "description": "It went well.",
            "content": {kind: {"schema": schema} for kind, schema in one.gives.items()},
        }
    }
    method = one.method.upper()
    for status in refusals(method, one.path, private=one.action is not None, more=one.refuses):
        said[str(status)] = {**refusal(status), "content": error}
    if one.declines:
        said["4XX"] = {"description": "Whoever answers for the policy does not take it.", "content": error}
    return said


def _needs(about: str, action: Action | None) -> str:
    return about if action is None else f"{about}\n\nNeeds the permission to {action}."
