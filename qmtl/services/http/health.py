"""The routes that every service has: whether it lives, whether it can work, and its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from qmtl.services.http.wording import Wording

# Probes ask these without credentials.
UNGUARDED = ("/healthz", "/readyz")
METRICS = "/metrics"


class StatusAnswer(BaseModel):
    status: str


class ReadyAnswer(StatusAnswer):
    """warnings: what does not keep the service from its work, and should be looked at."""

    warnings: list[str] | None = None


def health_routes(
    check_ready: Callable[[], None], warnings: Callable[[], Sequence[str]], wording: Wording
) -> APIRouter:
    """check_ready: raises an error where the service cannot work, such as a storage that cannot be read."""
    router = APIRouter(tags=["server"], default_response_class=wording.answer)

    @router.get("/healthz", response_model=StatusAnswer)
    async def healthz() -> Response:
        """The server answers. Asks for no credentials."""
        return wording.answer({"status": "ok"})

    @router.get(
        "/readyz",
        response_model=ReadyAnswer,
        response_model_exclude_none=True,
        responses={500: {"model": wording.error_model, "description": wording.failure}},
    )
    def readyz() -> Response:
        """The service can work: what it depends on can be reached and read. Asks for no credentials."""
        check_ready()
        found = list(warnings())
        return wording.answer({"status": "ready"} | ({"warnings": found} if found else {}))

    @router.get(METRICS, response_class=PlainTextResponse)
    def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
