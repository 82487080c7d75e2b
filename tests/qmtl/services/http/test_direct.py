"""A request that goes straight to its endpoint is answered as FastAPI would have answered it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, StrictInt
from starlette.responses import Response
from starlette.types import ASGIApp

from qmtl.foundation.errors import InvalidRequestError
from qmtl.services.http.application import application
from qmtl.services.http.wording import JSONAnswer


class Halved(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: StrictInt
    name: str = "nobody"


class CountedRoute(APIRoute):
    """handled: how many requests FastAPI was given."""

    handled = 0

    async def handle(self, *args: Any) -> None:
        CountedRoute.handled += 1
        await super().handle(*args)


def app(**options: Any) -> ASGIApp:
    router = APIRouter(prefix="/v1", route_class=CountedRoute)

    @router.post("/half")
    async def half(body: Halved) -> Response:
        """Halves a number."""
        if body.number % 2:
            raise InvalidRequestError("it is odd", next_step="send an even one")
        if body.number == 4:
            raise KeyError("a defect")
        return JSONAnswer({"half": body.number // 2, "name": body.name})

    return application(
        [router], name="halves", title="Halves", description="-", check_ready=lambda: None, **options
    )


def asked(served: ASGIApp, method: str, path: str, **request: Any) -> tuple[int, str, dict[str, str]]:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(served, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://halves") as client:
            return await client.request(method, path, **request)

    answer = asyncio.run(ask())
    return answer.status_code, answer.text, dict(answer.headers)


def test_what_fits_goes_past_fastapi() -> None:
    before = CountedRoute.handled
    request = {"json": {"number": 10, "name": "Ä\ud7ff"}}
    direct = asked(app(direct=("/v1/half",)), "POST", "/v1/half", **request)
    assert CountedRoute.handled == before
    assert direct[0] == 200
    assert asked(app(), "POST", "/v1/half", **request) == direct


@pytest.mark.parametrize(
    ("method", "content", "status"),
    [
        ("POST", '{"number": 3}', 422),
        ("POST", '{"number": 4}', 500),
        ("POST", '{"number": 2, "more": 1}', 422),
        ("POST", '{"number": "2"}', 422),
        ("POST", '{"number": 2.0}', 422),
        ("POST", '{"number": true}', 422),
        ("POST", '{"number": 2, "name": "\\ud800"}', 200),
        ("POST", '{"number": 2, "name": NaN}', 422),
        ("POST", '{"number": 2, "number": 6}', 200),
        ("POST", "[]", 422),
        ("POST", "", 422),
        ("POST", "{", 400),
        ("GET", None, 405),
        ("PUT", '{"number": 2}', 405),
    ],
)
def test_all_else_is_answered_as_ever(method: str, content: str | None, status: int) -> None:
    request = {"content": content, "headers": {"content-type": "application/json"}}
    direct, plain = app(direct=("/v1/half",)), app()
    answer = asked(direct, method, "/v1/half", **request)
    assert answer[0] == status
    assert answer == asked(plain, method, "/v1/half", **request)


def test_it_is_described_and_counted_as_ever() -> None:
    direct = app(direct=("/v1/half",))
    assert asked(direct, "GET", "/openapi.json")[1] == asked(app(), "GET", "/openapi.json")[1]
    for number, status in ((2, 200), (3, 422), (4, 500)):
        line = f'service_requests_total{{method="POST",route="/v1/half",service="halves",status="{status}"}}'
        counted = []
        for _ in range(2):
            asked(direct, "POST", "/v1/half", json={"number": number})
            lines = asked(direct, "GET", "/metrics")[1].splitlines()
            counted.append(float(next(one for one in lines if one.startswith(line)).split()[-1]))
        assert counted[1] == counted[0] + 1
