"""A fleet whose parts are killed, stopped, cut off and put out of time ends complete, its promises kept.

QMTL_TEST_CHAOS_FAULTS says how many faults there are, QMTL_TEST_CHAOS_SEED replays the schedule of a run.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.times import SECOND
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.postgres import PostgresServer, newest_programs
from tests.qmtl.stories.fleet.afterwards import reread
from tests.qmtl.stories.fleet.checker import check
from tests.qmtl.stories.fleet.fleet import LIBRARIES, TTL_S, Fleet, Undo
from tests.qmtl.stories.fleet.history import Claimed, Committed, Fault, Fetched, HistoryFile, read_history
from tests.qmtl.stories.fleet.recorders import now
from tests.qmtl.stories.fleet.schedule import PlannedFault, schedule

pytestmark = [pytest.mark.process, pytest.mark.service]

FAULTS = int(os.environ.get("QMTL_TEST_CHAOS_FAULTS", "0"))
SEED = int(os.environ.get("QMTL_TEST_CHAOS_SEED", "0")) or int.from_bytes(os.urandom(4))
# What a fault leaves behind for so long: leases that nobody renews, and workers that go on alone.
_AFTER_S = 2 * TTL_S + 4


@pytest.fixture
def own_postgres(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server of this test alone, which it may kill."""
    programs = newest_programs()
    assert programs is not None
    server = PostgresServer(programs)
    yield server
    server.remove()


def play(fleet: Fleet, planned: list[PlannedFault], file: HistoryFile) -> None:
    """Do all of it, and undo it, each at its time."""
    began = time.monotonic()
    undone: list[tuple[float, int, Undo, Fault]] = []

    def undo_until(end: float) -> None:
        while undone and undone[0][0] <= end:
            due, number, undo, fault = heapq.heappop(undone)
            time.sleep(max(0.0, due - (time.monotonic() - began)))
            undo()
            file.write(Fault(fault.at, now() + _AFTER_S * SECOND, fault.what), number)

    for one in planned:
        undo_until(one.at)
        time.sleep(max(0.0, one.at - (time.monotonic() - began)))
        print(one, flush=True)  # noqa: T201 - what a failed run is told by
        fault = Fault(now(), None, str(one))
        number = file.write(fault)
        undo = fleet.harm(one.part, one.number, one.how, one.by)
        heapq.heappush(undone, (one.at + one.lasts, number, undo, fault))
        fleet.restart_ended()
    undo_until(float("inf"))


def test_whatever_dies_the_work_ends_complete(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if not FAULTS:
        pytest.skip("it takes minutes, and the machine to itself: make chaos")
    if not LIBRARIES:
        pytest.fail("there is no libfaketime; apt-get install libfaketime")
    print(f"QMTL_TEST_CHAOS_SEED={SEED} QMTL_TEST_CHAOS_FAULTS={FAULTS}")  # noqa: T201 - replays it
    postgres: PostgresServer = request.getfixturevalue("own_postgres")
    new_etcd: Callable[..., EtcdCluster] = request.getfixturevalue("new_etcd")
    fleet = Fleet(tmp_path, new_etcd(3), postgres, workers=4, seed=SEED)
    try:
        play(fleet, schedule(SEED, FAULTS, fleet.parts), HistoryFile(fleet.history / "faults.jsonl"))
        ended = fleet.finish(within_s=120)
        told = [part.log()[-3_000:] for part, code in zip(fleet.workers, ended, strict=True) if code != 0]
    finally:
        fleet.remove()
    events = read_history(sorted(fleet.history.glob("*.jsonl")))
    fetches = Counter(event.error or "answered" for event in events if isinstance(event, Fetched))
    commits = Counter(str(event.outcome) for event in events if isinstance(event, Committed))
    print(Counter(type(event).__name__ for event in events), fetches, commits)  # noqa: T201
    with qmtl.SeamlessDataProvider(
        postgres.url("bars"), {}, metrics_registry=CollectorRegistry()
    ) as provider:
        assert check([*events, *reread(provider, events)]) == []
    assert (ended, told) == ([0] * 4, [])
    # It was not idle: workers met each other, and the store had something to refuse or nobody to answer.
    assert {event.answer for event in events if isinstance(event, Claimed)} >= {"granted", "held"}
    assert fetches["answered"] > FAULTS / 20
    assert commits["accepted"]
