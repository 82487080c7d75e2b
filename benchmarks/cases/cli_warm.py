"""Commands of the CLI on a stock exchange's year of minutes, each as a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks import scene
from benchmarks.figures import Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import Contestant, take_turns
from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.frames import stamps

SERIES = "ohlcv:bench:SHARE:1m"
MONTH = ("2023-01-01", "2023-02-01")
COMMANDS = {
    "qmtl fetch, a month": ("fetch", SERIES, *MONTH, "--partial-ok"),
    "qmtl coverage, a month": ("coverage", SERIES, *MONTH),
    "qmtl export, a month as CSV": ("export", SERIES, *MONTH, "-o", "month.csv"),
    "qmtl import, a day that is stored": ("import", "day.csv", "--series", SERIES),
    "qmtl commits": ("commits", SERIES),
}
# Minutes of a trading day.
DAY = 390


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """The store exists, calendar and modules are compiled; no process lives on between the calls."""
    command = Path(sys.executable).with_name("qmtl")
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}

    def qmtl(*words: str) -> None:
        subprocess.run(
            [command, "--store", "store", *words],
            check=True,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    frame = scene.year_of_bars(sizes.year)
    sessions = calendar_named("XNYS").sessions(scene.span_of(sizes.year))
    bars = frame.filter(sessions.holds(stamps(frame)))
    bars.write_csv(folder / "year.csv")
    bars.head(DAY).write_csv(folder / "day.csv")
    qmtl("import", "year.csv", "--series", SERIES, "--calendar", "XNYS")

    def turn(words: tuple[str, ...], _: int) -> None:
        qmtl(*words)

    contestants: dict[str, Contestant] = {what: partial(turn, words) for what, words in COMMANDS.items()}
    contestants["floor"] = lambda _: subprocess.run([sys.executable, "-c", "pass"], check=True)
    contestants["polars"] = lambda _: subprocess.run([sys.executable, "-c", "import polars"], check=True)
    times = take_turns(sizes.processes, contestants)
    beside = Comparison("s", times["floor"], "start Python", {"polars": times["polars"]})
    return [beside.figure(what, times[what], goal=0.35) for what in COMMANDS]
