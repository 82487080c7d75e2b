"""What the server is, and whether it can work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from qmtl import __version__
from qmtl.foundation.schema.storage import RegistryStorage
from qmtl.services.registry.parameters import Limit, Offset, page
from qmtl.services.registry.routes import refused
from qmtl.services.registry.wire import Answer, ErrorAnswer

# Confluent's name for the only context there is.
_CONTEXTS = (".",)


class StatusAnswer(BaseModel):
    status: str


class ServerVersion(BaseModel):
    version: str
    commitId: str


def about_routes(storage: RegistryStorage) -> APIRouter:
    router = APIRouter(tags=["server"], default_response_class=Answer)

    @router.get("/", response_model=dict[str, Any])
    async def root() -> Answer:
        """Nothing; some clients ask for it to see whether somebody answers."""
        return Answer({})

    @router.post("/", response_model=dict[str, Any])
    async def post_root() -> Answer:
        """Nothing, as the GET."""
        return Answer({})

    @router.get("/contexts", response_model=list[str], responses=refused(422))
    async def contexts(contextPrefix: str = "", offset: Offset = 0, limit: Limit = -1) -> Answer:
        """There is the default context alone."""
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

    @router.get("/healthz", response_model=StatusAnswer)
    async def healthz() -> Answer:
        """The server answers. Asks for no credentials."""
        return Answer({"status": "ok"})

    @router.get(
        "/readyz",
        response_model=StatusAnswer,
        responses={500: {"model": ErrorAnswer, "description": "The storage cannot be read."}},
    )
    def readyz() -> Answer:
        """The storage can be read. Asks for no credentials."""
        with storage.reading() as view:
            view.last_id()
        return Answer({"status": "ready"})

    @router.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
