"""The registry as an application: its routes, its errors, and what lies around them."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp

from qmtl import __version__
from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.observability.metrics import Metrics
from qmtl.foundation.schema.client import SchemaRegistryClient
from qmtl.foundation.schema.governance_rows import RegistryRecords
from qmtl.foundation.schema.storage import RegistryStorage
from qmtl.services.http.access import Credentials, Role
from qmtl.services.http.layers import Authenticated, BoundedBodies, Counted, RawPaths
from qmtl.services.http.negotiation import HeadAsGet, Negotiated
from qmtl.services.registry.docs_page import HEADERS, rendered
from qmtl.services.registry.governance_routes import governance_routes
from qmtl.services.registry.page import described
from qmtl.services.registry.routes.about import about_routes
from qmtl.services.registry.routes.compatibility import compatibility_routes
from qmtl.services.registry.routes.schemas import schema_routes
from qmtl.services.registry.routes.settings import level_routes, mode_routes
from qmtl.services.registry.routes.subjects import subject_routes
from qmtl.services.registry.wire import ACCEPTED, OFFERED, Answer, refusal, refusal_of

# A schema of 5 MiB, in a string of JSON in which every second byte had to be escaped.
BODY_LIMIT = 10 * 2**20
# From the headers to the last byte of the body.
BODY_SECONDS = 30.0
UNGUARDED = ("/healthz", "/readyz")
# Not of Confluent's: they answer what they are, whatever a probe or browser says that it accepts.
NOT_NEGOTIATED = (*UNGUARDED, "/metrics", "/docs", "/openapi.json")

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
    app = FastAPI(
        title="qmtl schema registry",
        version=__version__,
        description="Confluent's REST API for schemas, with verdicts that explain themselves.",
        default_response_class=Answer,
        redirect_slashes=False,
        # FastAPI's own page loads its script from another host.
        docs_url=None,
        redoc_url=None,
    )
    routers = (
        schema_routes(registry, storage),
        subject_routes(registry),
        compatibility_routes(registry),
        level_routes(registry),
        mode_routes(registry),
        governance_routes(RegistryRecords(storage)),
        about_routes(storage),
    )
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    app.add_exception_handler(SchemaRegistryError, _refused)
    app.add_exception_handler(RequestValidationError, _unusable)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _defect)
    app.openapi = lambda: described(app, guarded=credentials is not None)  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(rendered(app.openapi()), headers=HEADERS)

    around: ASGIApp = BoundedBodies(
        HeadAsGet(app), limit=body_limit, within_s=body_seconds, accepted=ACCEPTED, refuse=refusal
    )
    if credentials is not None:
        around = Authenticated(around, credentials, role_for, unguarded=UNGUARDED, refuse=refusal)
    around = Negotiated(around, offered=OFFERED, free=NOT_NEGOTIATED, refuse=refusal)
    return Counted(RawPaths(around), metrics=Metrics(), clock=SystemClock(), service="registry")


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


async def _unusable(request: Request, error: Exception) -> Answer:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return refusal(400, f"the body is not JSON: {problems[0]['ctx']['error']}")
    told = (f"{' '.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
    return refusal(422, "; ".join(told))


async def _of_http(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette names the methods of the first fitting route alone.
        fitting = [r for r in request.app.state.routes if r.matches(request.scope)[0] is not Match.NONE]
        methods = {method for route in fitting for method in route.methods}
        methods |= {"HEAD"} if "GET" in methods else set()
        headers = {"allow": ", ".join(sorted(methods))} if methods else headers
    return refusal(error.status_code, f"HTTP {error.status_code} {error.detail}", headers=headers)


async def _defect(request: Request, error: Exception) -> Answer:
    return refusal(500, f"this is a defect of the server: {type(error).__name__}")
