"""What the server is, for clients of Confluent's API that ask."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from qmtl import __version__
from qmtl.services.registry.parameters import Limit, Offset, page
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import Answer

# Confluent's name for the only context there is.
_CONTEXTS = (".",)


class ServerVersion(BaseModel):
    version: str
    commitId: str


def about_routes() -> APIRouter:
    router = APIRouter(tags=["server"], default_response_class=Answer)

    @router.get("/", response_model=dict[str, Any])
    async def root() -> Answer:
        """An empty object; some clients ask for it to see whether there is a server."""
        return Answer({})

    @router.post("/", response_model=dict[str, Any])
    async def post_root() -> Answer:
        """An empty object, as the GET."""
        return Answer({})

    @router.get("/contexts", response_model=list[str], responses=refused(422))
    async def contexts(contextPrefix: str = "", offset: Offset = 0, limit: Limit = -1) -> Answer:
        """The default context is the only one."""
        found = [context for context in _CONTEXTS if context.startswith(contextPrefix)]
        return Answer(page(found, offset, limit))

    @router.get("/v1/metadata/id", response_model=dict[str, Any])
    async def cluster() -> Answer:
        """A server of its own belongs to no cluster of Kafka's."""
        return Answer({"id": "", "scope": {"path": [], "clusters": {}}})

    @router.get("/v1/metadata/version", response_model=ServerVersion)
    async def server_version() -> Answer:
        """The version of qmtl."""
        return Answer({"version": __version__, "commitId": ""})

    return router
