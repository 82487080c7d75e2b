"""A child process that fills many series until it is killed. Run as a script: STORE SERIES.

Says `done NODE` once all bars of a series are committed, as its progress tells, and `complete` at the end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.ingest.backfill_result import Progress
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

DAWN = to_ns("2024-01-01")
SPAN = Span(DAWN, DAWN + 4 * HOUR)
NAMES = [f"ohlcv:panel:S{number:02}/USDT:1m" for number in range(50)]


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def show(progress: Progress) -> None:
    if progress.done == progress.total:
        say(f"done {progress.series}")


def main(store: Path, count: int) -> None:
    with SeamlessDataProvider(
        store, vendors=ScriptedVendor(), metrics_registry=CollectorRegistry()
    ) as provider:
        provider.backfill(NAMES[:count], *SPAN, on_progress=show)
    say("complete")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
