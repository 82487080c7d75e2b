"""Routes that are asked most, answered without what FastAPI does for every request beside the work itself."""

from __future__ import annotations

from typing import get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from qmtl.services.http.layers import Replayed


class DirectRoute(Route):
    """Stands before a route whose endpoint takes one `body`, a model, and makes its answer by itself.

    A request that fits goes straight to the endpoint; any other goes to the route, which says what is wrong
    with it. So answers, errors and descriptions are those of the route.
    """

    def __init__(self, route: APIRoute) -> None:
        self._methods = route.methods or set()
        super().__init__(route.path, route.endpoint, methods=sorted(self._methods), include_in_schema=False)
        self._route = route
        self._endpoint = route.endpoint
        self._model: type[BaseModel] = get_type_hints(route.endpoint)["body"]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self._route
        if scope["method"] not in self._methods or scope["query_string"]:
            await self._route.handle(scope, receive, send)
            return
        message = await receive()  # whole: see `BoundedBodies`
        try:
            body = self._model.model_validate_json(message["body"])
        except ValidationError:
            await self._route.handle(scope, Replayed(message["body"], receive), send)
            return
        answer = await self._endpoint(body)
        await answer(scope, receive, send)
