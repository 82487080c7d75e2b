"""The acts of the demo: a range is queued, parts of the fleet are killed, and the range is complete."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import iso, to_ns
from qmtl.foundation.words import counted
from qmtl.interfaces.cli.console import PipeAwareConsole
from qmtl.interfaces.demo.main import DemoFailed
from qmtl.interfaces.demo.stage import Stage
from qmtl.interfaces.demo.whole_fleet.asked import Page, asked_after_commit, asked_twice, page_of
from qmtl.interfaces.demo.whole_fleet.script import Fleet
from qmtl.runtime.coordination.shards import shard_numbers
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.exchange import Request, SimulatedExchange
from qmtl.runtime.testing.exchange.server import KLINES

SERIES = "ohlcv:binance:BTC/USDT:1m"
NAME = SeriesId.parse(SERIES)
STEP = NAME.timeframe.step
QUARTER = Span(to_ns("2023-01-01"), to_ns("2023-04-01"))
# The exchange takes so long for each page, of which it makes one at a time: else all would be over too soon.
_PAGE_S = 0.2
_PATIENCE_S = 120.0

T = TypeVar("T")


@dataclass
class Demo:
    """pages: all that the exchange was asked for."""

    stage: Stage
    fleet: Fleet
    exchange: SimulatedExchange
    pages: list[Page] = field(default_factory=list)


def run_demo(script: Path) -> None:
    """Run all acts. script: `operations/fleet.sh`. Raises `DemoFailed` where a claim did not hold."""
    stage = Stage(PipeAwareConsole(highlight=False, emoji=False))
    pages: list[Page] = []

    def came(request: Request) -> None:
        if request.path == KLINES:
            page = page_of(time.time_ns(), request.parameters, STEP)
            pages.extend([] if page is None else [page])
            time.sleep(_PAGE_S)

    with (
        tempfile.TemporaryDirectory(prefix="qmtl-demo-") as folder,
        SimulatedExchange(on_request=came) as exchange,
        _started(stage, Fleet(script, Path(folder) / "fleet", exchange.url)) as fleet,
    ):
        demo = Demo(stage, fleet, exchange, pages)
        job = queued(demo)
        dead = worker_killed(demo)
        others_killed(demo)
        completed(demo, job, dead)
        checked(demo)
    stage.check("all ten processes have ended", _running(fleet) == [])
    if stage.failed:
        raise DemoFailed(f"{stage.failed} of the demo's claims did not hold")


@contextmanager
def _started(stage: Stage, fleet: Fleet) -> Iterator[Fleet]:
    stage.say(f"Everything happens on this machine, in {fleet.folder}, and is gone afterwards.")
    stage.act("Act one: ten processes")
    try:
        with stage.timed("start"):
            fleet.start()
        stage.say(_moved_in(fleet.status()))
        stage.check("all ten of them run", len(_running(fleet)) == 10)
        yield fleet
    finally:
        fleet.stop()
        elsewhere = fleet.folder / "postgres-data"  # of root, whose folders PostgreSQL cannot enter
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)


def queued(demo: Demo) -> str:
    """The id of the job."""
    stage, fleet = demo.stage, demo.fleet
    stage.act("Act two: a quarter is queued, and all three workers take shards of it")
    words = ("backfill", SERIES, iso(QUARTER.start), iso(QUARTER.end), "--detach")
    stage.say(f"  qmtl {' '.join(words)}")
    fleet.command(*words)
    holders = _until(lambda: found if len(found := _holders(fleet)) == 3 else None)
    stage.say(_moved_in(fleet.command("leases")))
    stage.check("three workers hold shards, each its own", len(holders) == 3)
    (job,) = fleet.asked("/v1/jobs")["jobs"]
    return str(job["job"])


def worker_killed(demo: Demo) -> int:
    """Its process id."""
    stage, fleet = demo.stage, demo.fleet
    stage.act("Act three: a worker is killed")
    _until(lambda: _committed(demo) > 0)
    holders = _holders(fleet)
    victim = next(part for part in ("worker-0", "worker-1", "worker-2") if fleet.pid(part) in holders)
    fleet.kill(victim)
    dead = fleet.pid(victim)
    stage.say(f"  {victim} holds {counted(len(holders[dead]), 'shard')}: kill -9")
    committed = _committed(demo)
    stage.check(f"what was committed is there: {committed:,} bars", committed > 0)
    return dead


def others_killed(demo: Demo) -> None:
    stage, fleet = demo.stage, demo.fleet
    stage.act("Act four: a coordinator, the leader of etcd, and the database")
    fleet.kill("coordinator-0")
    stage.say("  coordinator-0: kill -9")
    jobs = _until(lambda: fleet.asked("/v1/jobs")["jobs"])
    stage.check("the other coordinator knows the job", [one["shards"] for one in jobs] == [_shards()])
    leader = _until(fleet.leader)
    fleet.kill(leader)
    stage.say(f"  {leader}, which leads: kill -9")
    began = time.monotonic()
    successor = _until(lambda: found if (found := fleet.leader()) not in (None, leader) else None)
    _until(lambda: fleet.asked("/readyz"))
    stage.check(f"{successor} leads after {time.monotonic() - began:.1f} s", successor != leader)
    before = _committed(demo)
    fleet.kill("postgres", signal.SIGQUIT)
    stage.say("  postgres: ended in the middle of its work (SIGQUIT), as by a crash")
    _until(lambda: "postgres" not in _running(fleet))
    stage.say(_moved_in(fleet.status()))
    alive = {part: fleet.pid(part) for part in _running(fleet)}
    with stage.timed("second start, which begins what has ended"):
        fleet.start()
    stage.check("all ten run again", len(_running(fleet)) == 10)
    stage.check(
        f"the {len(alive)} that ran were left alone",
        all(fleet.pid(part) == pid for part, pid in alive.items()),
    )
    stage.check("no commit was lost with the database", _committed(demo) >= before > 0)


def completed(demo: Demo, job: str, dead: int) -> None:
    stage, fleet = demo.stage, demo.fleet
    stage.act("Act five: the rest of the quarter")
    with stage.timed("rest"):
        ended = _until(lambda: found if (found := fleet.asked(f"/v1/jobs/{job}"))["ended"] else None)
    stage.say(_moved_in(fleet.command("jobs")))
    stage.check(
        f"the job has ended: of {ended['shards']} shards {ended['done']} are done, and "
        f"{len(ended['violated'])} violations with their reasons",
        ended["done"] + len(ended["violated"]) == ended["shards"] == _shards(),
    )
    steps = json.loads(fleet.command("--json", "leases", "--history", "2000-01-01T00:00Z"))
    of_dead = {one["lease_key"] for one in steps if one["event"] == "expired" and _pid(one) == dead}
    others = {one["lease_key"] for one in steps if one["event"] == "completed" and _pid(one) != dead}
    stage.check(
        f"{counted(len(of_dead), 'lease')} of the killed worker expired; others completed its shards",
        len(of_dead) > 0 and of_dead <= others,
    )


def checked(demo: Demo) -> None:
    stage, bars = demo.stage, QUARTER.length // STEP
    stage.act("Act six: what the store has, and what the exchange was asked")
    with SeamlessDataProvider(demo.fleet.store, vendors={}) as provider:
        states = provider.coverage(SERIES, QUARTER.start, QUARTER.end)
        frame = provider.store.read(NAME, QUARTER).frame
        commits = provider.store.commits(NAME)
    stage.picture(states)
    stage.check(f"coverage is exact: {bars:,} present, nothing else", states.counts["present"] == bars)
    stage.check(
        f"all {bars:,} bars equal the exchange's own books, value by value",
        frame.equals(demo.exchange.bars(NAME, QUARTER)),
    )
    writers = {commit.writer for commit in commits}
    stage.check(f"{len(writers)} workers have written it, in {len(commits)} commits", len(writers) > 1)
    pages = list(demo.pages)
    twice = asked_twice(pages)
    again = asked_after_commit(pages, commits)
    stage.say(
        f"  {len(pages)} pages were asked for. {twice.length // STEP:,} bars were asked for more than once: "
        "their first answer was lost with a worker, or with the database."
    )
    stage.check("no bar was asked for again once it was committed", again.length == 0)
    stage.check("most bars were asked for exactly once", twice.length < QUARTER.length // 4)


# -- how things stand --------------------------------------------------------------------------------------


def _running(fleet: Fleet) -> list[str]:
    """The parts that run."""
    return [line.split()[0] for line in fleet.status().splitlines() if line.split()[1] == "runs"]


def _holders(fleet: Fleet) -> dict[int, list[str]]:
    """The shards that are held, by the process ids of those who hold them."""
    found: dict[int, list[str]] = {}
    for lease in fleet.asked("/v1/leases")["leases"]:
        if lease["state"] == "held":
            found.setdefault(_pid(lease), []).append(lease["lease_key"])
    return found


def _pid(lease: Mapping[str, Any]) -> int:
    """Of the process that holds it, or did in this step: it is a part of the name of a worker."""
    return int(lease["holder"].split(":")[1])


def _committed(demo: Demo) -> int:
    """How many bars are stored."""
    with SeamlessDataProvider(demo.fleet.store, vendors={}) as provider:
        return int(provider.coverage(SERIES, QUARTER.start, QUARTER.end).counts["present"])


def _shards() -> int:
    return len(shard_numbers(Coverage([QUARTER]), SHARD_STEPS * STEP))


def _until(ask: Callable[[], T | None]) -> T:
    """The first true answer; while nobody answers, there is none."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            found = ask()
        except (HTTPError, URLError, TimeoutError, ConnectionError):
            found = None
        if found:
            return found
        time.sleep(0.1)
    raise DemoFailed("what the demo waits for does not come")


def _moved_in(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    try:
        run_demo(Path(sys.argv[1]).absolute())
    except QmtlError as error:
        sys.exit(f"error: {error}")
