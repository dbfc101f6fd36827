"""What every page of the API uses: a route and its permission, a visit, an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.responses import Response

from heedful.access.caller import Caller
from heedful.access.permissions import Action, require
from heedful.domain.ids import TenantId, check_id
from heedful.errors import NotFound
from heedful.road import Parts
from heedful.service.door import body
from heedful.service.pages import openapi
from heedful.service.service import Service
from heedful.store.codec import kind_of
from heedful.wire import ErrorBody

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Visit:
    """One caller's request, let in."""

    service: Service
    caller: Caller

    @property
    def parts(self) -> Parts:
        return self.service.parts

    @property
    def tenant(self) -> TenantId:
        return self.caller.tenant


async def visit(request: Request) -> Visit:
    return Visit(request.app.state.service, request.state.caller)


Visiting = Annotated[Visit, Depends(visit)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address: what a caller must be allowed to do, and what is done."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    action: Action
    handler: Callable[..., Any]
    status: int = 200  # when it went well
    # For the documentation, where the handler's own types do not tell:
    takes: Any = None
    gives: Any = None
    also: Mapping[int, Any] = field(default_factory=dict, hash=False)  # by other statuses, when it went well
    refuses: tuple[int, ...] = ()  # with which errors, beyond those that its shape tells


@dataclass(frozen=True, slots=True)
class Permission:
    """Asked before anything else of a route."""

    route: Route

    async def __call__(self, request: Request) -> None:
        request.state.route = self.route.path
        require(request.state.caller, self.route.action)


class StrictRoute(APIRoute):
    """A route whose body was read by `body.read`: FastAPI gets it parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if request.method == "POST":
                request._json = await body.read(request)  # what `request.json()` remembers
            return await handle(request)

        return strict


def add(app: FastAPI, routes: tuple[Route, ...]) -> None:
    for route in routes:
        app.router.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            status_code=route.status,
            dependencies=[Depends(Permission(route))],
            response_model=None,
            responses=_responses(route),
            route_class_override=StrictRoute,
            description=f"{route.handler.__doc__ or ''}\n\nNeeds the permission to {route.action}.",
            tags=[route.path.split("/")[2]],
            openapi_extra=None if route.takes is None else openapi.taken(route.takes),
        )


def _responses(route: Route) -> dict[int | str, dict[str, Any]]:
    """All that it can answer, for the documentation."""
    given = {route.status: route.gives, **route.also}
    queried = set(inspect.signature(route.handler).parameters) - {"visit", "id"}
    errors = openapi.refusals(route.method, route.path, queried=bool(queried), more=route.refuses)
    return {
        **{status: {"model": model} for status, model in given.items() if model is not None},
        **{status: {**openapi.refusal(status), "model": ErrorBody} for status in errors},
    }


def reply(value: Any, *, status: int = 200) -> Response:
    """Any value of the domain or of the wire. Numbers that JSON does not know are text, as in the store."""
    return Response(to_json(value, inf_nan_mode="strings"), status_code=status, media_type="application/json")


def known(visit: Visit, kind: type[T], id: str) -> T:
    """The tenant's record, or `NotFound`; an id that cannot be one is refused before the store is asked."""
    name = kind_of(kind)
    visit.service.recorder.settle()
    found = visit.parts.store.get(kind, visit.tenant, check_id(id, name))
    if found is None:
        raise NotFound(f"{name.replace('_', ' ')} {id!r} is not known here", field=name)
    return found
