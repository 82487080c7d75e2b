"""The acts of the demo: a machine is killed in a write, another completes it, and both work at once."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso, to_ns
from qmtl.interfaces.cli.console import PipeAwareConsole
from qmtl.interfaces.demo.main import DemoFailed
from qmtl.interfaces.demo.stage import Stage
from qmtl.interfaces.demo.two_machines.machine import Machine
from qmtl.interfaces.demo.two_machines.server import running_server
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.stores import needs_psycopg
from qmtl.runtime.testing.exchange import SimulatedExchange

if TYPE_CHECKING:
    from psycopg import Connection

SERIES = "ohlcv:binance:BTC/USDT:1m"
NAME = SeriesId.parse(SERIES)
STEP = NAME.timeframe.step
HALF_YEAR = Span(to_ns("2023-01-01"), to_ns("2023-07-01"))
JULY = Span(HALF_YEAR.end, to_ns("2023-08-01"))
SCHEMA = "desk"


@dataclass(frozen=True)
class Demo:
    """observer: a session that looks at the server. folder: of all machines."""

    stage: Stage
    exchange: SimulatedExchange
    server: str
    observer: Connection[Any]
    folder: Path

    @property
    def store(self) -> str:
        return f"{self.server}?schema={SCHEMA}"

    def machine(self, name: str) -> Machine:
        return Machine(name, self.folder / name, self.store, self.exchange.url, SERIES)

    @contextmanager
    def in_the_way(self) -> Iterator[None]:
        """While the block runs everybody can read, and no commit comes as far as the list of commits."""
        from psycopg import connect

        with connect(self.server) as blocker:
            blocker.execute(f"LOCK TABLE {SCHEMA}.tx IN SHARE MODE")
            yield

    def pages(self, since: int) -> list[int]:
        """The first bars (ns) of the pages that the exchange was asked for, from one request on."""
        asked = [request.parameters for request in self.exchange.requests[since:]]
        return [int(one["startTime"]) * 1_000_000 for one in asked if "startTime" in one]


def run_demo() -> None:
    """Run all acts. Raises `DemoFailed` where a claim did not hold."""
    with needs_psycopg():
        import psycopg

    stage = Stage(PipeAwareConsole(highlight=False, emoji=False))
    with (
        tempfile.TemporaryDirectory(prefix="qmtl-demo-") as folder,
        running_server() as server,
        SimulatedExchange() as exchange,
        psycopg.connect(server, autocommit=True) as observer,
    ):
        demo = Demo(stage, exchange, server, observer, Path(folder))
        stage.say(f"Everything happens on this machine, and is gone afterwards. The store: {demo.store}")
        stage.say("Each machine is a process with a state folder of its own, so none sees another's locks.")
        as_of, fingerprint = killed(demo)
        with demo.machine("machine-two") as two:
            completed(demo, two)
            with demo.machine("machine-one") as one:
                compared(demo, one, two, as_of, fingerprint)
                both_at_once(demo, one, two)
    if stage.failed:
        raise DemoFailed(f"{stage.failed} of the demo's claims did not hold")


def killed(demo: Demo) -> tuple[int, str]:
    """The time of the last commit that the killed machine has made, and the fingerprint of what it is."""
    stage = demo.stage
    stage.act("Act one: machine one backfills half a year, and is killed in a write")
    with demo.machine("machine-one") as one:
        one.fetch(HALF_YEAR)
        for _ in range(2):
            one.hear("done")
        with demo.in_the_way():
            stands = _standing_still(demo, one.name)
            stage.say("  Its rows are at the server, and its COMMIT is not. kill -9")
            stage.check("the server has a transaction of machine one, in the middle", stands)
            one.kill()
    _until_ended(demo, one.name)
    with _store(demo) as provider:
        store = provider.store
        found = store.read(NAME, HALF_YEAR)
        commits = store.commits(NAME)
        states = provider.coverage(SERIES, HALF_YEAR.start, HALF_YEAR.end)
        stage.picture(states)
        stage.check(
            f"what it had committed before is there: {len(commits)} commits, {found.frame.height:,} bars",
            found.frame.height > 0 and found.frame.equals(demo.exchange.bars(NAME, found.answered.hull)),
        )
        stage.check(
            "of the write that it was killed in nothing is there: bars and coverage say the same",
            states.present == found.answered and states.counts["present"] == found.frame.height,
        )
        answer = provider.fetch(SERIES, HALF_YEAR.start, HALF_YEAR.end, strategy="FAIL_FAST", partial_ok=True)
        return answer.receipt.as_of, answer.receipt.fingerprint


def completed(demo: Demo, two: Machine) -> None:
    stage = demo.stage
    stage.act("Act two: machine two fetches the same half year")
    with _store(demo) as provider:
        missing = provider.coverage(SERIES, HALF_YEAR.start, HALF_YEAR.end).unknown
    before = len(demo.exchange.requests)
    with stage.timed("fetch: only what is missing is asked for"):
        two.fetch(HALF_YEAR)
        answer = two.answer()
    asked = demo.pages(before)
    stage.say(f"  {len(asked):,} requests, the earliest for {iso(min(asked))}.")
    stage.check("no bar that machine one had committed was asked for again", min(asked) >= missing.hull.start)
    _check_whole(demo, HALF_YEAR)
    _receipt(stage, two, answer)


def compared(demo: Demo, one: Machine, two: Machine, as_of: int, fingerprint: str) -> None:
    stage = demo.stage
    stage.act("Act three: machine one is up again; both are asked for the same")
    before = len(demo.exchange.requests)
    answers = {}
    for machine in (one, two):
        machine.fetch(HALF_YEAR)
        answers[machine] = machine.answer()
        _receipt(stage, machine, answers[machine])
    stage.check("the receipts have the same fingerprint and time", answers[one] == answers[two])
    stage.check("the exchange was not asked for any bar", demo.pages(before) == [])
    stage.say(f"  Both are asked for the state as of {iso(as_of)}, just before the kill.")
    for machine in (one, two):
        machine.fetch(HALF_YEAR, as_of=as_of)
    then = [machine.answer()["fingerprint"] for machine in (one, two)]
    stage.check("both read what was there then, byte for byte", then == [fingerprint, fingerprint])


def both_at_once(demo: Demo, one: Machine, two: Machine) -> None:
    stage = demo.stage
    stage.act("Act four: both backfill July at once, and nobody coordinates them")
    alone = -(-JULY.length // STEP // 1_000) + 1
    before = len(demo.exchange.requests)
    with stage.timed("fetches of both"):
        for machine in (one, two):
            machine.fetch(JULY)
        answers = [machine.answer() for machine in (one, two)]
    asked = len(demo.pages(before))
    stage.say(f"  {asked} requests; one machine alone needs {alone}.")
    stage.check("no bar was asked for more than twice", asked <= 2 * alone)
    stage.check("both answers have the same fingerprint", answers[0] == answers[1])
    _check_whole(demo, JULY)


def _check_whole(demo: Demo, span: Span) -> None:
    """Coverage and rows, as a third place sees them, against the books of the exchange."""
    stage, bars = demo.stage, span.length // STEP
    with _store(demo) as provider:
        states = provider.coverage(SERIES, span.start, span.end)
        frame = provider.store.read(NAME, span).frame
    stage.picture(states)
    stage.check(f"coverage is exact: {bars:,} present, nothing else", states.counts["present"] == bars)
    stage.check("no bar is there twice", frame.height == frame["ts"].n_unique() == bars)
    stage.check(
        f"all {bars:,} bars equal the exchange's own books, value by value",
        frame.equals(demo.exchange.bars(NAME, span)),
    )


def _receipt(stage: Stage, machine: Machine, answer: dict[str, Any]) -> None:
    stage.say(f"  {machine.name}: fingerprint {answer['fingerprint'][:16]}..., as of {iso(answer['as_of'])}")


@contextmanager
def _store(demo: Demo) -> Iterator[SeamlessDataProvider]:
    """The store as it is now, for one who asks no vendor."""
    with SeamlessDataProvider(demo.store, vendors={}) as provider:
        yield provider


# The session of a machine, as the server sees it.
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
_PATIENCE_S = 120.0


def _standing_still(demo: Demo, name: str) -> bool:
    """Wait until a transaction of the machine, which has written rows already, waits for our lock."""
    return _becomes(demo, f"{_SESSIONS} AND wait_event_type = 'Lock' AND backend_xid IS NOT NULL", name, 1)


def _until_ended(demo: Demo, name: str) -> None:
    """Wait until the server has noticed that the machine is gone."""
    if not _becomes(demo, _SESSIONS, name, 0):
        raise DemoFailed(f"the server keeps the sessions of {name}")


def _becomes(demo: Demo, question: str, name: str, expected: int) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if demo.observer.execute(question, (name,)).fetchone() == (expected,):
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    try:
        run_demo()
    except QmtlError as error:
        sys.exit(f"error: {error}")
