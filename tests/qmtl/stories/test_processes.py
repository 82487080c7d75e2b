"""Several processes, and the deaths of some: a bar is asked for once, and work resumes where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
SPAN = Span(to_ns("2023-01-01"), to_ns("2023-07-01"))

# Fetches half a year; says after each commit how far it is, and waits to be told to go on.
WORKER = """
import json, sys
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

def wait(progress):
    print(json.dumps(progress.done), flush=True)
    sys.stdin.readline()

vendor = ScriptedVendor(page_rows=5000, delay=0.001)
provider = SeamlessDataProvider(sys.argv[1], vendors=vendor)
print("ready", flush=True)
sys.stdin.readline()
try:
    result = provider.fetch("ohlcv:test:BTC/USDT:1m", "2023-01-01", "2023-07-01", on_progress=wait)
    print(json.dumps({"rows": result.frame.height, "asked": [c.span for c in vendor.calls]}), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    provider.close()
"""


class Worker:
    def __init__(self, store: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout

    def says(self) -> str:
        return self.stdout.readline().strip()

    def go_on(self, times: int = 1) -> None:
        self.stdin.write("\n" * times)
        self.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()


def resume(store: Path) -> tuple[ScriptedVendor, SeamlessDataProvider]:
    vendor = ScriptedVendor(page_rows=5000)
    return vendor, SeamlessDataProvider(store, vendors=vendor, metrics_registry=CollectorRegistry())


def test_a_killed_backfill_resumes_where_it_stopped(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    try:
        assert worker.says() == "ready"
        worker.go_on(2)
        first, second = int(worker.says()), int(worker.says())
        assert 0 < first < second < 260_640
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
    finally:
        worker.end()
    vendor, provider = resume(tmp_path)
    with provider:
        kept = provider.coverage(SERIES, SPAN.start, SPAN.end)
        assert kept.counts["present"] == second, "all that was committed is there, and nothing else"
        result = provider.fetch(SERIES, SPAN.start, SPAN.end)
        assert_frame_equal(result.frame, vendor.bars(SERIES, SPAN))
        assert [call.span for call in vendor.calls] == [kept.unknown.hull], "only the rest is asked for"


def test_an_interrupt_leaves_a_state_that_the_next_run_resumes_from(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    try:
        assert worker.says() == "ready"
        worker.go_on(2)
        worker.says()
        done = int(worker.says())
        os.kill(worker.process.pid, signal.SIGINT)
        worker.go_on(100)
        while (message := worker.says()).isdigit():  # a commit that was under way may still end
            pass
        assert message == "interrupted"
        assert worker.process.wait(60) == 0
    finally:
        worker.end()
    vendor, provider = resume(tmp_path)
    with provider:
        kept = provider.coverage(SERIES, SPAN.start, SPAN.end).counts["present"]
        assert done <= kept < 260_640
        assert provider.fetch(SERIES, SPAN.start, SPAN.end).frame.height == 260_640
        assert sum(call.span.length for call in vendor.calls) // 60_000_000_000 == 260_640 - kept


def test_processes_of_one_machine_share_each_backfill(tmp_path: Path) -> None:
    workers = [Worker(tmp_path) for _ in range(3)]
    try:
        assert [worker.says() for worker in workers] == ["ready"] * 3
        for worker in workers:
            worker.go_on(1000)
        asked: list[tuple[int, int]] = []
        for worker in workers:
            while isinstance(answer := json.loads(worker.says()), int):
                pass
            assert answer["rows"] == 260_640
            asked += [(a, b) for a, b in answer["asked"]]
    finally:
        for worker in workers:
            worker.end()
    assert Coverage(asked) == Coverage.of(SPAN)
    assert sum(b - a for a, b in asked) == SPAN.length, "no bar was asked for twice"
