"""Whoever takes over from a killed worker of the fleet wants what that one wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.qmtl.stories.fleet.worker_child import WorkerOrders, _next_ranges, drawn


@pytest.mark.parametrize("is_over", [False, True])
def test_what_was_begun_is_wanted_also_when_the_end_has_come(tmp_path: Path, *, is_over: bool) -> None:
    end = tmp_path / "end"
    orders = WorkerOrders(
        name="worker0",
        store="",
        coordinator="",
        exchange="",
        history=str(tmp_path),
        ttl_s=2,
        page_rows=200,
        pause_s=0.0,
        seed="1",
        end=str(end),
    )
    orders.begun.write_text("7")
    if is_over:
        end.touch()
    ranges = _next_ranges(orders)
    assert next(ranges) == drawn("1 worker0", 7)
    end.touch()
    assert next(ranges, None) is None
