"""Programs that end without `close()` while pages come: what had come is stored, and nothing is printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import qmtl

# Real seconds for a whole program on a busy machine.
PATIENCE_S = 120.0

SERIES = "ohlcv:desk:BTC/USDT:1m"

# The vendor gives its pages and never ends: whatever is stored of them is stored because the program ended.
PROGRAM = """
import asyncio, os, signal, sys, threading
import qmtl
from qmtl.foundation.times import MINUTE
from qmtl.runtime.testing import synthetic_bars

PAGES, ROWS = {pages}, {rows}
came = threading.Event()

class Endless:
    async def pages(self, series, span):
        for number in range(PAGES):
            part = qmtl.Span(span.start + number * ROWS * MINUTE, span.start + (number + 1) * ROWS * MINUTE)
            yield qmtl.Page(synthetic_bars(series, part), answered=part)
        came.set()
        {then}
        await asyncio.Event().wait()

sdp = qmtl.SeamlessDataProvider(sys.argv[1], vendors=Endless(), progress=False)
"""

CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"

ENDS = {
    "a fetch": (
        CTRL_C,
        f"try: sdp.fetch({SERIES!r}, '2023-01-01', '2024-01-01')\nexcept KeyboardInterrupt: pass",
    ),
    "a panel": (
        CTRL_C,
        f"try: sdp.fetch_many([{SERIES!r}], '2023-01-01', '2024-01-01')\nexcept KeyboardInterrupt: pass",
    ),
    "a backfill": (
        CTRL_C,
        f"try: sdp.backfill({SERIES!r}, '2023-01-01', '2024-01-01')\nexcept KeyboardInterrupt: pass",
    ),
    "work behind an answer": (
        "pass",
        f"sdp.fetch({SERIES!r}, '2023-01-01', '2024-01-01', strategy='PARTIAL_FILL')\ncame.wait(60)",
    ),
    "a thread of the program": (
        "pass",
        f"work = lambda: sdp.backfill({SERIES!r}, '2023-01-01', '2024-01-01')\n"
        "threading.excepthook = lambda _: None\n"
        "threading.Thread(target=work, daemon=True).start()\ncame.wait(60)",
    ),
}


@pytest.mark.parametrize("what", ENDS)
# One commit packs few rows in one thread, and many in several.
@pytest.mark.parametrize(("pages", "rows"), [(3, 500), (1, 32_767)])
def test_what_had_come_is_stored(tmp_path: Path, what: str, pages: int, rows: int) -> None:
    then, ends = ENDS[what]
    program = PROGRAM.format(pages=pages, rows=rows, then=then) + ends
    command = [sys.executable, "-c", program, str(tmp_path / "bars")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with qmtl.SeamlessDataProvider(tmp_path / "bars", vendors={}) as again:
        assert again.coverage(SERIES, "2023-01-01", "2024-01-01").counts["present"] == pages * rows
