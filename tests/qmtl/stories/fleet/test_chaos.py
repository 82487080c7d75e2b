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
from qmtl.foundation.errors import StoreError
from qmtl.foundation.times import SECOND
from qmtl.interfaces.cli.guard import exit_code
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.faketime import LIBRARIES, faked, set_offset
from tests.qmtl.postgres import PostgresServer, newest_programs
from tests.qmtl.stories.fleet.afterwards import reread
from tests.qmtl.stories.fleet.checker import check
from tests.qmtl.stories.fleet.fleet import TTL_S, Fleet, Undo
from tests.qmtl.stories.fleet.history import Claimed, Committed, Fault, Fetched, HistoryFile, read_history
from tests.qmtl.stories.fleet.recorders import now
from tests.qmtl.stories.fleet.schedule import PlannedFault, schedule

pytestmark = [pytest.mark.process, pytest.mark.service]

FAULTS = int(os.environ.get("QMTL_TEST_CHAOS_FAULTS", "0"))
SEED = int(os.environ.get("QMTL_TEST_CHAOS_SEED", "0")) or int.from_bytes(os.urandom(4))
# What a fault leaves behind for so long: leases that nobody renews, and workers that go on alone.
_AFTER_S = 2 * TTL_S + 4


# Exit codes of `qmtl worker`, beside 0: it began while the store did not answer.
_WITHOUT_STORE = exit_code(StoreError("it does not answer"))


@pytest.fixture
def store_clock(postgres_server: PostgresServer) -> Path:
    """Lies where the user of the server can read it."""
    return postgres_server.folder / "clock of another"


@pytest.fixture
def own_postgres(postgres_server: PostgresServer, store_clock: Path) -> Iterator[PostgresServer]:
    """A server of this test alone, which it may kill, and whose clock it may set."""
    programs = newest_programs()
    assert programs is not None
    set_offset(store_clock, 0)
    server = PostgresServer(programs, env=faked(store_clock))
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
    clock: Path = request.getfixturevalue("store_clock")
    began = time.monotonic()
    fleet = Fleet(tmp_path, new_etcd(3), postgres, store_clock=clock, clients=2, commands=2, seed=SEED)
    try:
        play(fleet, schedule(SEED, FAULTS, fleet.parts), HistoryFile(fleet.history / "faults.jsonl"))
        ended = fleet.finish(within_s=120)
        told = [part.log()[-3_000:] for part, code in zip(fleet.workers, ended, strict=True) if code != 0]
        violated = fleet.clerk.violated()
    finally:
        fleet.remove()
    events = read_history(sorted(fleet.history.glob("*.jsonl")))
    fetches = Counter(event.error or "answered" for event in events if isinstance(event, Fetched))
    accepted = Counter(
        event.worker.partition("-")[0]
        for event in events
        if isinstance(event, Committed) and event.outcome == "accepted"
    )
    facts = {
        "seed": SEED,
        "faults": FAULTS,
        "seconds": round(time.monotonic() - began),
        "events": dict(Counter(type(event).__name__ for event in events)),
        "fetches": dict(fetches),
        "commits": dict(Counter(str(event.outcome) for event in events if isinstance(event, Committed))),
        "accepted of": dict(accepted),
        "jobs": fleet.clerk.queued,
        "refused to the clerk": len(fleet.clerk.refusals),
        "workers that ended by themselves": [part.endings for part in fleet.commands],
        "violations": {series: len(cells) for series, cells in violated.items()},
    }
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))  # noqa: T201 - what a run showed
    with qmtl.SeamlessDataProvider(
        postgres.url("bars"), {}, metrics_registry=CollectorRegistry()
    ) as provider:
        assert check([*events, *reread(provider, events, violated)]) == []
    assert (ended, told) == ([0] * 4, [])
    assert fleet.clerk.has_ended, fleet.clerk.refusals[-3:]
    assert {code for part in fleet.commands for code in part.endings} <= {_WITHOUT_STORE}
    # It was not idle: workers met each other, and the store had something to refuse or nobody to answer.
    assert {event.answer for event in events if isinstance(event, Claimed)} >= {"granted", "held"}
    assert fetches["answered"] > FAULTS / 20
    commands = {part.name for part in fleet.commands}
    assert accepted.keys() & commands
    assert accepted.keys() - commands
    assert fleet.clerk.queued
