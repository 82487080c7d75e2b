"""A fetch of several shards, killed at any instant: what it acknowledged is there, only the rest is asked."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

from qmtl.foundation.frames import stamps
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.coordination.shard_leases import Granted, ShardRequest
from qmtl.runtime.coordination.shards import shard_numbers
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.sdk.provider import SeamlessDataProvider

from . import fetch_children as script

SCRIPT = Path(__file__).with_name("fetch_children.py")
ROUNDS = int(os.environ.get("QMTL_TEST_CRASH_ROUNDS", "25"))
PATIENCE_S = 60.0


class Said(NamedTuple):
    """What a child said before it died."""

    asked: list[Span]
    handed: list[Span]
    acknowledged: Coverage
    complete: bool


class Children:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[str] = self.process.stdin
        self.stdout: IO[str] = self.process.stdout
        self.guard = threading.Timer(10 * PATIENCE_S, self.process.kill)  # so that nothing waits for ever
        self.guard.start()
        assert self.line() == "serving"

    def line(self) -> str:
        line = self.stdout.readline()
        assert line, "the script has ended"
        return line.strip()

    def run_and_kill(self, store: Path, seed: int, *, after_lines: int, after_s: float) -> Said:
        """Kill a fetch so long after it has said so many lines."""
        self.stdin.write(f"{store} {seed}\n")
        self.stdin.flush()
        pid = int(self.line().removeprefix("started "))
        message = []
        while len(message) < after_lines and "complete" not in message[-1:]:
            message.append(self.line())
        time.sleep(after_s)  # any instant of what follows
        with suppress(ProcessLookupError):  # it may have come to its end
            os.kill(pid, signal.SIGKILL)
        while not (line := self.line()).startswith("ended"):
            message.append(line)
        complete = "complete" in message
        assert line.split()[2] in (("-9", "0") if complete else ("-9",)), message
        spans: dict[str, list[Span]] = {"asked": [], "handed": [], "ack": []}
        for words in map(str.split, message):
            if words[0] in spans:
                spans[words[0]].append(Span(int(words[1]), int(words[2])))
        return Said(spans["asked"], spans["handed"], Coverage(spans["ack"]), complete)

    def close(self) -> None:
        self.guard.cancel()
        self.stdin.close()
        self.process.wait(PATIENCE_S)
        self.stdout.close()


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    serving = Children()
    yield serving
    serving.close()


def known_of(store: Path, bars: pl.DataFrame) -> Coverage:
    """What the store answers for, once it agrees with itself and with the vendor's `bars`."""
    with SeamlessDataProvider(store, vendors={}, metrics_registry=CollectorRegistry()) as provider:
        verification = provider.store.verify()
        assert verification.is_sound, verification
        states = provider.coverage(script.SERIES, *script.SPAN)
        known = states.present | states.no_trade | states.absent
        assert states.no_trade == script.NO_TRADE & known
        assert states.absent == script.ABSENT & known
        answer = provider.fetch(script.SERIES, *script.SPAN, strategy="FAIL_FAST", partial_ok=True)
        assert_frame_equal(answer.frame, bars.filter(known.holds(stamps(bars))))
        return known


def test_a_fetch_that_is_killed_at_any_instant(children: Children, tmp_path: Path) -> None:
    dice, stores, kills = random.Random(7), 0, 0
    store, known = tmp_path / "0", EMPTY
    bars = script.Shuffled().bars(script.SERIES, script.SPAN)

    def bars_in(cells: Coverage) -> int:
        return int(cells.holds(stamps(bars)).sum())

    for seed in range(ROUNDS):
        message = children.run_and_kill(
            store, seed, after_lines=dice.randrange(1, 26), after_s=dice.random() * 0.012
        )
        reported = f"seed {seed}: {message}"
        missing = Coverage.of(script.SPAN) - known
        asked = Coverage(message.asked)
        assert (missing & asked) == asked, f"only what is missing is asked for; {reported}"
        assert sum(span.length for span in message.asked) == asked.length, (
            f"nothing is asked twice; {reported}"
        )
        now = known_of(store, bars)
        unacknowledged, lost = now - (known | message.acknowledged), Coverage(message.handed) - now
        if script.is_slow(seed):
            assert unacknowledged in [EMPTY, *map(Coverage.of, message.handed[-1:])], reported
            assert lost in [EMPTY, *map(Coverage.of, message.handed[-1:])], reported
        else:  # one commit was under way, and the pages of another were read
            assert unacknowledged - Coverage(message.handed) == EMPTY, reported
            assert bars_in(unacknowledged) <= script.PAGE_ROWS, reported
            assert bars_in(lost) <= 2 * script.PAGE_ROWS, reported
        assert (now & (known | message.acknowledged)) == (known | message.acknowledged), reported
        known = now
        kills += not message.complete
        if message.complete:
            assert known == Coverage.of(script.SPAN)
            stores += 1
            store, known = tmp_path / str(stores), EMPTY
    assert kills > ROUNDS * 0.7, "it must die in the middle, most of the time"
    assert stores > 0, "and some must resume until they are done"
    finished(store, known)


def finished(store: Path, known: Coverage) -> None:
    """The next one completes it, and asks for what is missing, once."""
    vendor = script.ScriptedVendor(no_trade=script.NO_TRADE, absent=script.ABSENT)
    with SeamlessDataProvider(store, vendors=vendor, metrics_registry=CollectorRegistry()) as provider:
        answer = provider.fetch(script.SERIES, *script.SPAN, partial_ok=True)
        assert_frame_equal(answer.frame, vendor.bars(script.SERIES, script.SPAN))
        assert [call.span for call in vendor.calls] == list(Coverage.of(script.SPAN) - known)
        store_id = provider.store.place_id
    numbers = shard_numbers(Coverage.of(script.SPAN), SHARD_STEPS * MINUTE)
    wanted = [ShardRequest(LeaseKey(store_id, script.SERIES, number), EMPTY, 0) for number in numbers]
    answers = asyncio.run(LocalLeases(store / "claims").claim(wanted, claim_id="later"))
    assert all(isinstance(answer, Granted) for answer in answers), "no claim outlives its holder"
