"""A long file through the installed script: whole, in bounded memory; `make soak` takes ten million rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from qmtl.foundation.times import MINUTE, iso

ROWS = int(os.environ.get("QMTL_TEST_IMPORT_ROWS", "200000"))
QMTL = Path(sys.executable).with_name("qmtl")
SERIES = "ohlcv:test:LONG:1m"

# Python and its libraries, and what a row may take on its way: its text (about 52 bytes, read whole), six
# columns (48), its line number (8), and room, for allocators give memory back as they please.
BYTES = 300 * 2**20 + 140 * ROWS

# A process begins with the memory of the one that starts it, so a small one must do that.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def write_rows(path: Path) -> None:
    count = np.arange(ROWS)
    close = np.round(100 + 10 * np.sin(count / 5_000), 2)
    before = np.concatenate([close[:1], close[:-1]])
    pl.DataFrame(
        {
            "ts": pl.Series(count * MINUTE).cast(pl.Datetime("ns")).dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
            "open": before,
            "high": np.maximum(before, close),
            "low": np.minimum(before, close),
            "close": close,
            "volume": count % 97 + 1.0,
        }
    ).write_csv(path)


def test_a_soak_of_rows_is_imported_whole_and_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    write_rows(path)
    words = map(str, (QMTL, "--json", "--store", tmp_path / "bars", "import", path, "--series", SERIES))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document, peak = json.loads(done.stdout), int(done.stderr.splitlines()[-1])
    assert (document["rows"], document["added"]) == (ROWS, ROWS)
    assert document["coverage"]["present"] == ROWS
    assert document["holes"] == {}
    assert document["range"] == {"start": "1970-01-01", "end": iso(ROWS * MINUTE)}
    peak *= 1 if sys.platform == "darwin" else 1024
    assert peak <= BYTES, f"{peak / 2**20:,.0f} MiB"
