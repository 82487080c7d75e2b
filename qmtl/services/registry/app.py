"""The registry as an application: its routes, its roles, and how it answers what it refuses."""

from __future__ import annotations

import logging

from fastapi import Request
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.foundation.schema.registry.storage import RegistryStorage
from qmtl.services.http.access import Credentials, Role
from qmtl.services.http.application import BODY_SECONDS, application
from qmtl.services.registry.governance_routes import governance_routes
from qmtl.services.registry.routes.about import about_routes
from qmtl.services.registry.routes.compatibility import compatibility_routes
from qmtl.services.registry.routes.schemas import schema_routes
from qmtl.services.registry.routes.settings import level_routes, mode_routes
from qmtl.services.registry.routes.subjects import subject_routes
from qmtl.services.registry.wire import WORDING, Answer, refusal_of

# A schema of 5 MiB, in a string of JSON in which every second byte had to be escaped.
BODY_LIMIT = 10 * 2**20

_log = logging.getLogger("qmtl.registry")


def make_app(
    storage: RegistryStorage,
    *,
    credentials: Credentials | None = None,
    body_limit: int = BODY_LIMIT,
    body_seconds: float = BODY_SECONDS,
) -> ASGIApp:
    """An ASGI application over the rows of `storage`; without credentials it lets everybody do everything."""
    registry = SchemaRegistryClient(storage)

    def check_ready() -> None:
        with storage.reading() as view:
            view.last_id()

    routers = (
        schema_routes(registry, storage),
        subject_routes(registry),
        compatibility_routes(registry),
        level_routes(registry),
        mode_routes(registry),
        governance_routes(RegistryRecords(storage)),
        about_routes(),
    )
    return application(
        routers,
        name="registry",
        title="qmtl schema registry",
        description="Confluent's REST API for schemas, with verdicts that explain themselves.",
        check_ready=check_ready,
        credentials=credentials,
        role_for=role_for,
        wording=WORDING,
        own_errors={SchemaRegistryError: _refused},
        body_limit=body_limit,
        body_seconds=body_seconds,
    )


def role_for(method: str, path: str, query: bytes) -> Role:
    """READ to look up and compare; WRITE to register, delete softly, observe; ADMIN for all that is left."""
    in_subjects = path.startswith("/subjects/")
    if method in ("GET", "HEAD", "OPTIONS"):
        return Role.READ
    if method == "POST" and path.startswith("/governance/"):
        return Role.WRITE if path == "/governance/observations" else Role.ADMIN
    if method == "POST":
        registers = in_subjects and path.count("/") > 2
        return Role.WRITE if registers else Role.READ
    softly = method == "DELETE" and in_subjects and "permanent" not in QueryParams(query)
    return Role.WRITE if softly else Role.ADMIN


async def _refused(request: Request, error: Exception) -> Answer:
    assert isinstance(error, SchemaRegistryError)
    if error.status >= 500:
        _log.error("%s", error)
    return refusal_of(error)
