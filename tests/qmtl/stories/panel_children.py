"""A child process that fills many series until it is killed. Run as a script: STORE LINES.

Says `done NODE` once all bars of a series are committed, as its progress tells. After so many lines it waits,
for on a busy machine it may be killed late.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import count
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


def main(store: Path, lines: int) -> None:
    written = count(1)

    def show(progress: Progress) -> None:
        if progress.done == progress.total:
            say(f"done {progress.series}")
            if next(written) == lines:
                time.sleep(600)

    with SeamlessDataProvider(
        store, vendors=ScriptedVendor(), metrics_registry=CollectorRegistry()
    ) as provider:
        provider.backfill(NAMES, *SPAN, on_progress=show)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
