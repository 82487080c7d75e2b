"""Whatever numbers a body holds, it becomes values to work with, or is refused with the reason."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.runtime.io.rates import LONGEST_PAUSE_S
from qmtl.services.coordinator.app import make_app
from qmtl.services.coordinator.bodies import (
    JobBody,
    PauseBody,
    ProgressBody,
    RateBody,
    RenewBody,
    WantedShard,
)
from qmtl.services.coordinator.memory_keys import MemoryKeys
from qmtl.services.coordinator.rate_service import RateService
from tests.qmtl.services.coordinator.memory_coordinator import KeysClock

timeframes = st.sampled_from(["1s", "1m", "1h", "1d", "1w"])
times = st.integers(EARLIEST // 10**9 + 1, LATEST // 10**9).map(lambda second: iso(second * 10**9))


@given(timeframes, st.integers(-(2**31), 2**31 - 1), st.lists(st.tuples(times, times), max_size=2))
@example("1m", -(2**31), [])
@example("1w", 2**31 - 1, [(iso(0), iso(10**9))])
def test_a_shard_lies_in_time_or_is_refused(timeframe: str, shard: int, cells: list[tuple[str, str]]) -> None:
    wanted = WantedShard(series=f"ohlcv:test:A:{timeframe}", shard=shard, cells=cells)  # type: ignore[arg-type]
    try:
        request = wanted.request("store")
    except InvalidRequestError:
        return
    assert request.key.shard == shard


@given(timeframes, times, times)
def test_a_range_of_a_job_is_one_or_is_refused(timeframe: str, start: str, end: str) -> None:
    one: Any = {"series": f"ohlcv:test:A:{timeframe}", "start": start, "end": end}
    body = JobBody(job="a", store="store", by="b", ranges=[one])
    try:
        (found,) = [one.range() for one in body.ranges]
    except InvalidRequestError:
        return
    assert found.span.start < found.span.end


floats = st.floats(allow_nan=False, allow_infinity=False)


@given(floats, floats, floats)
@example(1.0, 1e-300, 1.0)
@example(1e6, 1e-6, 5e-324)
@example(5e-324, 1e6, 1e6)
def test_a_budget_can_be_reckoned_with_or_is_refused(cost: float, per_second: float, burst: float) -> None:
    try:
        body = RateBody(venue="v", taker="t", cost=cost, per_second=per_second, burst=burst)
    except ValidationError:
        return
    keys = MemoryKeys()

    async def spend() -> list[float]:
        service = RateService(keys, KeysClock(keys))
        limits = {"cost": body.cost, "per_second": body.per_second, "burst": body.burst}
        return [(await service.take("v", f"t{number}", **limits)).wait_s for number in range(3)]

    first, *later = asyncio.run(spend())
    assert first == 0
    assert all(wait >= 0 for wait in later)


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_PAUSE_S + 1, 1e6])
def test_a_pause_longer_than_is_kept_is_refused(seconds: float) -> None:
    assert PauseBody(venue="v", seconds=LONGEST_PAUSE_S).seconds == LONGEST_PAUSE_S
    with pytest.raises(ValidationError):
        PauseBody(venue="v", seconds=seconds)


def test_more_than_all_cannot_be_done() -> None:
    body = RenewBody(worker="w", progress=ProgressBody(done=5, total=5))
    assert body.shown() == ShardProgress(5, 5)
    with pytest.raises(ValidationError, match="5 bars of 1"):
        ProgressBody(done=5, total=1)


@pytest.mark.parametrize(
    ("method", "path", "unknown"),
    [
        ("GET", "/v1/leases?limits=3", "limits"),
        ("GET", "/v1/history?until=2024-01-01", "until"),
        ("GET", "/v1/workers?x", "x"),
        ("GET", "/v1/jobs?store=a", "store"),
        ("GET", "/v1/jobs/a/shards?after=1&most=3", "most"),
        ("DELETE", "/v1/jobs/a?force=1", "force"),
        ("POST", "/v1/leases/renew?worker=w", "worker"),
        ("POST", "/v1/rates/pause?venue=v", "venue"),
    ],
)
def test_a_parameter_that_no_route_has_is_refused(method: str, path: str, unknown: str) -> None:
    body = {
        "/v1/leases/renew": {"worker": "w"},
        "/v1/rates/pause": {"venue": "v", "seconds": 1.0},
    }.get(path.partition("?")[0])

    async def ask() -> httpx.Response:
        app = httpx.ASGITransport(make_app(MemoryKeys(), stores={}))
        async with httpx.AsyncClient(transport=app, base_url="http://test") as http:
            return await http.request(method, path, json=body)

    refused = asyncio.run(ask())
    assert refused.status_code == 422, refused.text
    assert f"no query parameter {unknown!r}" in refused.json()["detail"]
