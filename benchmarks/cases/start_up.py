"""Start: `import qmtl`, a provider on a store that is there, and `qmtl --help`, each as a whole process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import scene
from benchmarks.figures import DUCKDB, Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import take_turns
from qmtl import import_frame

SERIES = "ohlcv:bench:BTC/USDT:1m"


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """Compiled files are warm; the peers are `import duckdb` and `import polars`."""
    import_frame(folder / "store", scene.year_of_bars(sizes.window), SERIES)
    command = Path(sys.executable).with_name("qmtl")

    def python(code: str) -> object:
        return subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)

    times = take_turns(
        sizes.processes,
        {
            "floor": lambda _: python("pass"),
            "import": lambda _: python("import qmtl"),
            "provider": lambda _: python("import qmtl\nwith qmtl.SeamlessDataProvider('store'): pass"),
            "help": lambda _: subprocess.run(
                [command, "--help"], check=True, cwd=folder, stdout=subprocess.DEVNULL
            ),
            DUCKDB: lambda _: python("import duckdb"),
            "polars": lambda _: python("import polars"),
            "frames": lambda _: python("import numpy, polars"),
        },
    )
    beside = Comparison(
        "s", times["floor"], "start Python", {DUCKDB: times[DUCKDB], "polars": times["polars"]}
    )
    return [
        beside.figure("import qmtl", times["import"], goal=0.25),
        beside.figure("import qmtl, make a SeamlessDataProvider", times["provider"], goal=0.2),
        beside.figure("of which numpy and polars alone", times["frames"]),
        beside.figure("qmtl --help", times["help"], goal=0.35),
    ]
