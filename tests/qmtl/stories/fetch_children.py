"""Child processes that fetch until they are killed: forked from one that has imported everything already.

Run as a script. Reads lines `STORE SEED` from stdin, forks a child for each, and says on stdout
`started PID`, what the child says, and `ended PID STATUS`. A child says `asked START END` for each question
to its vendor, `handed START END` for each page, `ack START END` once a commit has returned, and `complete`
at the end.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog  # noqa: F401 - loaded once, and not by each child at its first event
from prometheus_client import CollectorRegistry

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.ingest import chunk
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

SERIES = "ohlcv:test:BTC/USDT:1m"
EDGE = to_ns("2023-03-01") // (SHARD_STEPS * MINUTE) * SHARD_STEPS * MINUTE
# A part of a shard, three whole ones, and a part of another.
SPAN = Span(EDGE - 2_345 * MINUTE, EDGE + (3 * SHARD_STEPS + 4_321) * MINUTE)
PAGE_ROWS = 1_000
PAGE = PAGE_ROWS * MINUTE
NO_TRADE = Coverage.of(Span(EDGE - 100 * MINUTE, EDGE + 7 * MINUTE))
ABSENT = Coverage.of(Span(EDGE + 9_000 * MINUTE, EDGE + 12_500 * MINUTE))


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


class Shuffled(ScriptedVendor):
    """Its pages come in an order of its own, across the borders of shards."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(no_trade=NO_TRADE, absent=ABSENT)
        self.dice = random.Random(seed)

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        say(f"asked {span.start} {span.end}")
        starts = list(range(span.start, span.end, PAGE))
        self.dice.shuffle(starts)
        for start in starts:
            part = Span(start, min(start + PAGE, span.end))
            say(f"handed {part.start} {part.end}")
            yield Page(self.bars(series, part), part, self.absent.clip(part))


def is_slow(seed: int) -> bool:
    return seed % 2 == 0


def fetch(store: str, seed: str) -> None:
    # Each page is a commit: waited for, as from a slow source, or with the next one read meanwhile.
    if is_slow(int(seed)):
        chunk.CHUNK_SECONDS = 0.0
    else:
        chunk.COMMIT_ROWS = 1
    plain = EmbeddedStore.commit

    def commit(self: EmbeddedStore, series: SeriesId, write: Write, **options: Any) -> Any:
        done = plain(self, series, write, **options)
        spans = write.answered | write.absent
        for span in spans:
            say(f"ack {span.start} {span.end}")
        return done

    EmbeddedStore.commit = commit  # type: ignore[method-assign]
    vendor = Shuffled(int(seed))
    with SeamlessDataProvider(Path(store), vendors=vendor, metrics_registry=CollectorRegistry()) as provider:
        say("ready")
        provider.fetch(SERIES, *SPAN, partial_ok=True)
        say("complete")


def main() -> None:
    say("serving")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                say(f"started {os.getpid()}")
                fetch(*line.split())
                status = 0
            except BaseException:  # noqa: BLE001 - whatever it is, the test is told
                say(repr(traceback.format_exc()))
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
