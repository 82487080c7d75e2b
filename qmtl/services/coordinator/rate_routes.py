"""Routes of rate budgets, for the vendors of workers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.responses import Response

from qmtl.services.coordinator.bodies import PauseBody, RateBody
from qmtl.services.coordinator.rate_service import RateAnswer, RateService
from qmtl.services.coordinator.routes import in_time, known_query, refusals
from qmtl.services.http.wording import JSONAnswer


class RateJSON(BaseModel):
    """wait_s: 0 if the cost is booked; else nothing is, and one asks again then."""

    wait_s: float
    pause_s: float
    sharers: int


def rate_routes(rates: RateService) -> APIRouter:
    """For workers, before each request to a venue."""
    router = APIRouter(prefix="/v1/rates", tags=["rates"], dependencies=[Depends(known_query)])

    @router.post("/take", response_model=RateJSON, responses=refusals())
    async def take(body: RateBody) -> Response:
        """Spends a cost of the budget that the whole fleet has for a venue, or says when to ask again."""
        spent = rates.take(
            body.venue, body.taker, cost=body.cost, per_second=body.per_second, burst=body.burst
        )
        return JSONAnswer(_json(await in_time(spent)))

    @router.post("/pause", response_model=RateJSON, responses=refusals())
    async def pause(body: PauseBody) -> Response:
        """Nobody asks the venue for so long: it has refused a request, and said so."""
        return JSONAnswer(_json(await in_time(rates.pause(body.venue, body.seconds))))

    return router


def _json(answer: RateAnswer) -> dict[str, Any]:
    return {
        "wait_s": round(answer.wait_s, 6),
        "pause_s": round(answer.pause_s, 6),
        "sharers": answer.sharers,
    }
