"""The simulated Polygon answers as its documentation says: cursors, New York's days, splits, keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.testing import FakeClock, SimulatedPolygon
from qmtl.runtime.testing.exchange import Status
from qmtl.runtime.testing.polygon import Split

pytest.importorskip("aiohttp", reason="needs qmtl[testing]")

DAYS = "/v2/aggs/ticker/AAPL/range/1/day/2024-01-02/2024-01-12"


@pytest.fixture
def server() -> Iterator[SimulatedPolygon]:
    splits = {"AAPL": Split("2024-01-08", 10)}
    with SimulatedPolygon(splits=splits, page_rows=4, clock=FakeClock("2024-06-01T00:00:00Z")) as server:
        yield server


def get(server: SimulatedPolygon, path: str, key: str | None = None) -> Any:
    header = {"Authorization": f"Bearer {server.key if key is None else key}"}
    with urlopen(Request(server.url + path, headers=header), timeout=60) as response:
        return json.load(response)


def test_pages_are_linked_by_cursors(server: SimulatedPolygon) -> None:
    first = get(server, f"{DAYS}?adjusted=false&limit=50000")
    assert (first["resultsCount"], first["adjusted"], first["results"][0]["t"]) == (4, False, 1704171600000)
    assert first["next_url"].startswith("https://api.polygon.io/v2/aggs/ticker/AAPL/")
    second = get(server, first["next_url"].removeprefix("https://api.polygon.io"))
    third = get(server, second["next_url"].removeprefix("https://api.polygon.io"))
    assert (len(second["results"]), len(third["results"]), "next_url" in third) == (4, 1, False)
    assert second["adjusted"] is False


def test_bars_before_a_split_are_adjusted_unless_one_asks_otherwise(server: SimulatedPolygon) -> None:
    plain, adjusted = (get(server, f"{DAYS}?adjusted={kind}&limit=1") for kind in ("false", "true"))
    assert adjusted["results"][0]["c"] == plain["results"][0]["c"] / 10
    assert adjusted["results"][0]["v"] == plain["results"][0]["v"] * 10
    span = Span(to_ns("2024-01-08"), to_ns("2024-01-12"))
    series = ("ohlcv:polygon:AAPL:1d", "ohlcv:polygon-adjusted:AAPL:1d")
    assert server.bars(series[0], span).equals(server.bars(series[1], span))


def test_tickers_keys_and_faults(server: SimulatedPolygon) -> None:
    assert get(server, "/v3/reference/tickers?ticker=AAPL&active=true")["count"] == 1
    assert get(server, "/v3/reference/tickers?ticker=APPL&active=true")["count"] == 0
    for path, key, status in [(DAYS, "wrong", 401), ("/nowhere", None, 404)]:
        with pytest.raises(HTTPError) as refused:
            get(server, path, key)
        assert refused.value.code == status
        refused.value.close()
    server.fail(Status(429, retry_after=3))
    with pytest.raises(HTTPError) as refused:
        get(server, DAYS)
    assert (refused.value.code, refused.value.headers["Retry-After"]) == (429, "3")
    refused.value.close()
    assert [call.status for call in server.calls] == [200, 200, 401, 404, 429]
    assert [call.authorized for call in server.calls] == [True, True, False, True, True]


def test_it_has_an_address_while_it_runs() -> None:
    server = SimulatedPolygon()
    with pytest.raises(InvalidRequestError, match="the simulated-polygon is not running"):
        _ = server.url
    with server:
        assert server.url.startswith("http://127.0.0.1:")
    server.close()
