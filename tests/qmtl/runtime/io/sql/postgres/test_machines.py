"""Processes of one machine share a backfill; machines without a coordinator do no harm to each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.testing.vendors import ScriptedVendor

NAME = "ohlcv:test:BTC/USDT:1m"
SERIES = SeriesId.parse(NAME)
SPAN = Span(to_ns("2023-01-01"), to_ns("2023-03-01"))

# Fetches two months; waits after each commit. A page takes so many seconds.
MACHINE = """
import json, sys
import qmtl
from qmtl.runtime.testing.vendors import ScriptedVendor

def wait(progress):
    print("committed", flush=True)
    sys.stdin.readline()

vendor = ScriptedVendor(page_rows=5000, delay=float(sys.argv[2]))
provider = qmtl.SeamlessDataProvider(sys.argv[1], vendors=vendor)
print("ready", flush=True)
sys.stdin.readline()
result = provider.fetch("ohlcv:test:BTC/USDT:1m", "2023-01-01", "2023-03-01", on_progress=wait)
asked = [list(call.span) for call in vendor.calls]
print(json.dumps({"rows": result.frame.height, "asked": asked, "pages": vendor.served}), flush=True)
provider.close()
"""


class Machine:
    """A process. Those with a state folder of their own do not see each other's locks, as machines do not."""

    def __init__(self, url: str, state: Path, page_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MACHINE, url, str(page_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "XDG_STATE_HOME": str(state)},
        )
        assert self.says() == "ready"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self, times: int = 1) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n" * times)
        self.process.stdin.flush()

    def outcome(self) -> dict[str, Any]:
        while (line := self.says()) == "committed":
            pass
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def machines(url: str, *states: Path, page_s: float = 0.001) -> Iterator[list[Machine]]:
    started: list[Machine] = []
    try:
        for state in states:
            started.append(Machine(url, state, page_s))
        yield started
    finally:
        for machine in started:
            machine.end()


def check_whole(url: str) -> None:
    """Every bar is there once, as the vendor has it, and no commit has replaced one by itself."""
    with PostgresStore(url) as store:
        snapshot = store.read(SERIES, SPAN)
        assert_frame_equal(snapshot.frame, ScriptedVendor().bars(SERIES, SPAN))
        assert snapshot.answered == Coverage.of(SPAN)
        assert store.verify().is_sound
        assert store.info().rows == snapshot.frame.height


def minutes_of(spans: list[list[int]]) -> int:
    return sum(end - start for start, end in spans) // SERIES.timeframe.step


def test_processes_of_one_machine_ask_once(postgres_url: str, tmp_path: Path) -> None:
    PostgresStore(postgres_url).close()
    with machines(postgres_url, tmp_path, tmp_path) as both:
        for machine in both:
            machine.go_on(10_000)
        found = [machine.outcome() for machine in both]
    bars = (SPAN.end - SPAN.start) // SERIES.timeframe.step
    assert [one["rows"] for one in found] == [bars, bars]
    assert sum(minutes_of(one["asked"]) for one in found) == bars, "no bar was asked for twice"
    check_whole(postgres_url)


def test_two_machines_without_a_coordinator(postgres_url: str, tmp_path: Path) -> None:
    PostgresStore(postgres_url).close()
    with machines(postgres_url, tmp_path / "one", tmp_path / "two") as (one, two):
        one.go_on()
        assert one.says() == "committed"
        two.go_on(10_000)  # it does not see the claim of the other, and overtakes it
        done = two.outcome()
        one.go_on(10_000)
        overtaken = one.outcome()
    bars = (SPAN.end - SPAN.start) // SERIES.timeframe.step
    assert (done["rows"], overtaken["rows"]) == (bars, bars)
    assert len(overtaken["asked"]) == 1, "it takes what the other has, and asks no more"
    assert minutes_of(done["asked"]) + minutes_of(overtaken["asked"]) <= 2 * bars, "at worst asked twice"
    check_whole(postgres_url)


@pytest.mark.parametrize("page_s", [0.001, 0.15])
def test_two_machines_at_once(postgres_url: str, tmp_path: Path, page_s: float) -> None:
    """However long a page takes, they do not take each other's fences in turn, so that none could commit."""
    PostgresStore(postgres_url).close()
    with machines(postgres_url, tmp_path / "one", tmp_path / "two", page_s=page_s) as both:
        for machine in both:
            machine.go_on(10_000)
        found = [machine.outcome() for machine in both]
    bars = (SPAN.end - SPAN.start) // SERIES.timeframe.step
    assert [one["rows"] for one in found] == [bars, bars]
    assert sum(one["pages"] for one in found) <= 2 * -(-bars // 5_000), "at worst asked twice"
    check_whole(postgres_url)


def test_a_machine_that_dies_leaves_its_work_to_the_other(postgres_url: str, tmp_path: Path) -> None:
    PostgresStore(postgres_url).close()
    with machines(postgres_url, tmp_path / "one", tmp_path / "two") as (one, two):
        one.go_on()
        assert one.says() == "committed"
        os.kill(one.process.pid, signal.SIGKILL)
        two.go_on(10_000)
        found = two.outcome()
    bars = (SPAN.end - SPAN.start) // SERIES.timeframe.step
    assert found["rows"] == bars
    assert 0 < minutes_of(found["asked"]) < bars, "what the other had committed is not asked for again"
    check_whole(postgres_url)


@pytest.mark.parametrize("same", [True, False])
def test_where_the_locks_lie(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "one"))
    with PostgresStore(postgres_url) as store:
        first = store.folder
        assert first is not None
        assert first.is_relative_to(tmp_path / "one")
        assert store.place_id in first.parts
        if not same:
            monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "two"))
        with PostgresStore(postgres_url) as again:
            assert (again.folder == first) is same
