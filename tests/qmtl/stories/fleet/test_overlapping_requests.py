"""Ten requests at once over five processes, ranges overlapping: the exchange is asked once for each bar."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.times import MINUTE
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.served_process import ServedProcess
from tests.qmtl.stories.fleet.afterwards import reread
from tests.qmtl.stories.fleet.checker import check
from tests.qmtl.stories.fleet.children import ROOT, child
from tests.qmtl.stories.fleet.history import Asked, Claimed, Committed, Fetched, Requested, read_history
from tests.qmtl.stories.fleet.worker_child import FIRST, WorkerOrders, orders_file

pytestmark = [pytest.mark.process, pytest.mark.service]
SERIES = "ohlcv:exchange:BTC/USDT:1m"


def test_each_bar_is_requested_exactly_once(
    new_etcd: Callable[..., EtcdCluster], postgres_url: str, tmp_path: Path
) -> None:
    history = tmp_path / "history"
    history.mkdir()
    chance = random.Random(14)
    wanted = [(first, first + chance.randrange(4_000, 20_000)) for first in chance.sample(range(20_000), 10)]
    etcd = new_etcd()
    coordinator = ServedProcess(tmp_path / "log", "serve", "coordinator", "--port", 0, "--etcd", *etcd.urls)
    exchange = subprocess.Popen(
        child("exchange_child", 0, history), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert exchange.stdout is not None
    url = exchange.stdout.readline().strip()
    orders = [
        WorkerOrders(
            name=f"worker{number}",
            store=postgres_url,
            coordinator=coordinator.url,
            exchange=url,
            history=str(history),
            ttl_s=15,
            page_rows=1_000,
            pause_s=0.05,
            ranges=[(SERIES, *one) for one in wanted[number::5]],
            at_once=2,
        )
        for number in range(5)
    ]
    # As on machines of their own: the locks of one are not seen by another.
    workers = [
        subprocess.Popen(
            child("worker_child", orders_file(one)),
            cwd=ROOT,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / one.name)},
        )
        for one in orders
    ]
    try:
        assert [worker.wait(240) for worker in workers] == [0] * 5
    finally:
        for process in (*workers, exchange):
            process.kill()
            process.wait()
        exchange.stdout.close()
        coordinator.end()
    events = read_history(sorted(history.glob("*.jsonl")))
    with qmtl.SeamlessDataProvider(postgres_url, {}, metrics_registry=CollectorRegistry()) as provider:
        assert check([*events, *reread(provider, events, violated={})]) == []
    requested = Counter(
        minute
        for event in events
        if isinstance(event, Requested)
        for minute in range((event.start - FIRST) // MINUTE, (event.end - FIRST) // MINUTE)
    )
    assert set(requested.values()) == {1}
    assert set(requested) == {minute for start, end in wanted for minute in range(start, end)}
    kinds = Counter(type(event) for event in events)
    assert kinds[Fetched] == 10
    # How many stretches the missing bars make depends on who comes first; nobody asks for more than it wants.
    assert min(kinds[Asked], kinds[Committed]) >= _fewest(wanted)
    held = {event.worker for event in events if isinstance(event, Claimed) and event.answer == "held"}
    assert held, "nobody met anybody: it shows nothing"


def _fewest(wanted: list[tuple[int, int]]) -> int:
    """How many of the ranges are needed to have all that any of them has."""
    end, last, many = min(wanted)[0], max(stop for _, stop in wanted), 0
    while end < last:
        end, many = max(stop for start, stop in wanted if start <= end), many + 1
    return many
