"""Start: `import qmtl`, and `qmtl --help`, each as a whole process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Beside, Figure
from benchmarks.peers import DUCKDB
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Compiled files are warm; the peers are `import duckdb` and `import polars`."""
    command = Path(sys.executable).with_name("qmtl")

    def python(code: str) -> object:
        return subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)

    times = take_turns(
        sizes.processes,
        {
            "floor": lambda _: python("pass"),
            "import": lambda _: python("import qmtl"),
            "provider": lambda _: python("import qmtl; qmtl.SeamlessDataProvider"),
            "help": lambda _: subprocess.run(
                [command, "--help"], check=True, cwd=folder, stdout=subprocess.DEVNULL
            ),
            DUCKDB: lambda _: python("import duckdb"),
            "polars": lambda _: python("import polars"),
        },
    )
    beside = Beside("s", times["floor"], "start Python", {DUCKDB: times[DUCKDB], "polars": times["polars"]})
    return [
        beside.figure("import qmtl", times["import"], goal=0.25),
        beside.figure("qmtl --help", times["help"], goal=0.4),
        beside.figure("import qmtl, load SeamlessDataProvider", times["provider"]),
    ]
