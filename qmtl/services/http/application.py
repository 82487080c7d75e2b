"""A service as an application: it writes its routes, and has from here what every service needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan

from qmtl import __version__
from qmtl.foundation.clock import SystemClock
from qmtl.foundation.observability.metrics import Metrics
from qmtl.services.http.access import Credentials, Role
from qmtl.services.http.direct import Direct, RaisedAgain
from qmtl.services.http.docs_page import HEADERS, rendered
from qmtl.services.http.errors import answer_errors
from qmtl.services.http.health import METRICS, UNGUARDED, health_routes
from qmtl.services.http.layers import Authenticated, BoundedBodies, Counted, RawPaths
from qmtl.services.http.negotiation import HeadAsGet, Negotiated
from qmtl.services.http.openapi import described
from qmtl.services.http.wording import PLAIN, Wording

# In bytes, and in seconds from the headers to the last byte of the body.
BODY_LIMIT = 2**20
BODY_SECONDS = 30.0
# They answer what they are, whatever a probe or browser says that it accepts.
NOT_NEGOTIATED = (*UNGUARDED, METRICS, "/docs", "/openapi.json")

RoleFor = Callable[[str, str, bytes], Role]
AnswerError = Callable[[Request, Exception], Awaitable[Response]]


def role_by_method(method: str, path: str, query: bytes) -> Role:
    """READ for what changes nothing (RFC 9110, 9.2.1), WRITE for all else."""
    return Role.READ if method in ("GET", "HEAD", "OPTIONS") else Role.WRITE


def application(
    routers: Sequence[APIRouter],
    *,
    name: str,
    title: str,
    description: str,
    check_ready: Callable[[], None],
    warnings: Callable[[], Sequence[str]] = tuple,
    credentials: Credentials | None = None,
    role_for: RoleFor = role_by_method,
    wording: Wording = PLAIN,
    own_errors: Mapping[type[Exception], AnswerError] | None = None,
    body_limit: int = BODY_LIMIT,
    body_seconds: float = BODY_SECONDS,
    lifespan: Lifespan[FastAPI] | None = None,
    direct: Collection[str] = (),
) -> ASGIApp:
    """An ASGI application of `routers` with /healthz, /readyz, /metrics, /docs and /openapi.json.

    name: the label of its requests in metrics. Without credentials it lets everybody do everything.
    role_for: the role that a method, path and query need. own_errors: how it answers errors of its own.
    check_ready: raises an error where the service cannot work; warnings: of what should be looked at all the
    same, a sentence each. A body has at most `body_limit` bytes and
    takes at most `body_seconds` seconds to arrive. lifespan: entered before the first request, and left after
    the last one, on the loop of the server. direct: the paths of routes that are asked most, and of each
    that its requests go straight to its endpoint (see `Direct`).
    """
    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        default_response_class=wording.answer,
        redirect_slashes=False,
        # FastAPI's own page loads its script from another host.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        routes=[RaisedAgain()] if direct else [],
    )
    to_endpoint = [
        route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.path in direct
    ]
    routers = [*routers, health_routes(check_ready, warnings, wording)]
    for router in routers:
        app.include_router(router)
    answer_errors(app, wording, [route for router in routers for route in router.routes])
    for kind, answer in (own_errors or {}).items():
        app.add_exception_handler(kind, answer)
    guarded = credentials is not None
    app.openapi = lambda: described(app, wording, guarded=guarded)  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(rendered(app.openapi()), headers=HEADERS)

    around: ASGIApp = BoundedBodies(
        Direct(HeadAsGet(app), to_endpoint),
        limit=body_limit,
        within_s=body_seconds,
        accepted=wording.accepted,
        refuse=wording.refuse,
    )
    if credentials is not None:
        around = Authenticated(around, credentials, role_for, unguarded=UNGUARDED, refuse=wording.refuse)
    around = Negotiated(around, offered=wording.offered, free=NOT_NEGOTIATED, refuse=wording.refuse)
    return Counted(RawPaths(around), metrics=Metrics(), clock=SystemClock(), service=name)
