"""A command on a store that is there loads nothing that takes longer than its answer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

# What no command needs that reads a store and shows tables.
NEEDLESS = (
    "aiohttp", "ccxt", "exchange_calendars", "fastavro", "httpx", "jsonschema", "pandas", "pyarrow",
    "structlog",
)  # fmt: skip
EXCHANGE, ALWAYS_OPEN = "ohlcv:mine:AAPL:1h", "ohlcv:mine:BTC/USDT:1h"
CSV = "ts,open,high,low,close,volume\n" + "".join(
    f"2024-01-02T{hour}:00Z,2,3,1,2,10\n" for hour in range(15, 21)
)
RANGE = ("2024-01-02", "2024-01-03")


class Warm:
    """A store of two series in a folder of its own, and a cache in which the calendar is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        (folder / "bars.csv").write_text(CSV)
        for series, calendar in ((EXCHANGE, "XNYS"), (ALWAYS_OPEN, "24x7")):
            self.run("import", "bars.csv", "--series", series, "--calendar", calendar)

    def run(self, *words: str) -> set[str]:
        """The names of the packages that a command has loaded when it ends."""
        code = (
            "import atexit, sys; from qmtl.interfaces.cli.main import run; "
            "atexit.register(lambda: open('loaded', 'w').write(' '.join(sys.modules))); run()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "--store", "store", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {name.partition(".")[0] for name in (self.folder / "loaded").read_text().split()}

    def seconds(self, *words: str) -> float:
        """Of processor time, of a command."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(*words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    return Warm(tmp_path_factory.mktemp("warm"))


@pytest.mark.parametrize(
    "words",
    [
        ("coverage", EXCHANGE, *RANGE),
        ("fetch", EXCHANGE, *RANGE, "--strategy", "FAIL_FAST", "--partial-ok"),
        ("export", EXCHANGE, "-o", "out.csv"),
        ("store", "info"),
        ("store", "verify"),
        ("store", "declare", EXCHANGE, "--calendar", "XNYS"),
        ("reports", "list"),
        ("calendars", "XNYS"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_nothing_needless_is_loaded(warm: Warm, words: tuple[str, ...]) -> None:
    loaded = warm.run(*words)
    assert "numpy" in loaded
    assert loaded & set(NEEDLESS) == set()


def test_the_list_of_calendars_loads_no_frames(warm: Warm) -> None:
    assert "polars" not in warm.run("calendars", "XNYS")


def test_a_calendar_costs_next_to_nothing(warm: Warm) -> None:
    """Building it takes several times as long as all else; the bound leaves room for a busy machine."""
    pairs = [
        (warm.seconds("coverage", EXCHANGE, *RANGE), warm.seconds("coverage", ALWAYS_OPEN, *RANGE))
        for _ in range(4)
    ]
    assert min(exchange for exchange, _ in pairs) < 1.3 * min(other for _, other in pairs)
