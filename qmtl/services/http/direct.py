"""Routes that are asked most, answered without what FastAPI does for every request beside the work itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from qmtl.services.http.layers import Replayed

_ERROR = "qmtl.error"


class Direct:
    """Stands before an application whose `routes` each have an endpoint that takes one `body`, a model, and
    makes its answer by itself.

    A request that fits goes straight to the endpoint; any other goes to the application, which says what is
    wrong with it, and answers errors of the endpoint (see `RaisedAgain`). So answers, errors and descriptions
    are those of the routes.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): (route, _model(route)) for route in routes for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        route, model = found
        message = await receive()  # whole: see `BoundedBodies`
        try:
            body = model.model_validate_json(message["body"])
        except ValidationError:
            await self._app(scope, Replayed(message["body"], receive), send)
            return
        scope["route"] = route
        try:
            answer = await route.endpoint(body)
        except Exception as error:  # noqa: BLE001 - of any kind: the application knows what each is answered
            scope[_ERROR] = error
            await self._app(scope, receive, send)
            return
        await answer(scope, receive, send)


class RaisedAgain(BaseRoute):
    """Raises within an application what an endpoint has raised before it. Stands before its other routes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if _ERROR in scope else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: Exception = scope[_ERROR]
        raise error


def _model(route: APIRoute) -> type[BaseModel]:
    model: type[BaseModel] = get_type_hints(route.endpoint)["body"]
    return model
