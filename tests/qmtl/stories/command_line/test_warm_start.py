"""A command on a store that is there loads nothing that takes longer than its answer."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from qmtl.interfaces.cli.main import COMMANDS, FAMILIES

# What no command needs that reads a store and shows tables, or imports a text file.
NEEDLESS = frozenset(
    (
        "aiohttp", "ccxt", "exchange_calendars", "fastavro", "httpx", "jsonschema", "pandas",
        "prometheus_client", "pyarrow", "qmtl.foundation.schema.registry.client", "rich.progress",
        "rich.markdown", "structlog", "yaml",
    )
)  # fmt: skip
# What asks vendors and feeds, the provider that may do so, what judges bars, and what reads files.
VENDORS = frozenset(
    (
        "asyncio",
        "qmtl.runtime.ingest.backfill",
        "qmtl.runtime.sdk.fetch_asking",
        "ssl",
    )
)
ASKING = VENDORS | {"qmtl.runtime.sdk.provider"}
JUDGING = frozenset(("qmtl.runtime.conformance.pipeline",))
READING = frozenset(("qmtl.runtime.io.bar_files",))
LOOKING = frozenset(("qmtl.runtime.io.bar_files.look",))
TABLES = frozenset(("rich",))
FRAMES = frozenset(("polars", "qmtl.runtime.io.sql.sqlite.embedded"))
EXCHANGE, ALWAYS_OPEN = "ohlcv:mine:AAPL:1h", "ohlcv:mine:BTC/USDT:1h"
CSV = "ts,open,high,low,close,volume\n" + "".join(
    f"2024-01-02T{hour}:00Z,2,3,1,2,10\n" for hour in range(15, 21)
)
RANGE = ("2024-01-02", "2024-01-03")


# Runs a command, and writes down what it was like when it ends.
RUN = """
import atexit, gc, json, sys
from qmtl.interfaces.cli.main import run

def collections():
    return sum(generation["collections"] for generation in gc.get_stats())

def write(before):
    settings = sys.modules.get("qmtl.foundation.settings")
    checked = settings is not None and settings.Settings.__pydantic_complete__
    ended = [sorted(sys.modules), collections() - before, gc.get_freeze_count(), checked]
    with open("ended.json", "w") as file:
        json.dump(ended, file)

atexit.register(write, collections())
run()
"""


class Ended(NamedTuple):
    """What had been loaded when a command ended, how often garbage was looked for, and what was left out.

    settings_checked: whether what checks settings was built.
    """

    modules: frozenset[str]
    collections: int
    frozen: int
    settings_checked: bool


class Warm:
    """A store of two series in a folder of its own, and a cache in which the calendar is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        (folder / "bars.csv").write_text(CSV)
        for series, calendar in ((EXCHANGE, "XNYS"), (ALWAYS_OPEN, "24x7")):
            self.run("import", "bars.csv", "--series", series, "--calendar", calendar)

    def run(self, *words: str, search: Path | None = None) -> Ended:
        """search: a folder in which packages are found, too."""
        more = {} if search is None else {"PYTHONPATH": str(search)}
        done = subprocess.run(
            [sys.executable, "-c", RUN, "--store", "store", *words],
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        modules, *counts = json.loads((self.folder / "ended.json").read_text())
        return Ended(frozenset(modules), *counts)

    def seconds(self, *words: str) -> float:
        """Of processor time, of a command."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(*words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Warm:
    return Warm(tmp_path_factory.mktemp("warm"))


FETCH = ("fetch", EXCHANGE, *RANGE, "--strategy", "FAIL_FAST", "--partial-ok")
NEEDLESS_TO: dict[tuple[str, ...], frozenset[str]] = {
    ("calendars", "XNYS"): ASKING | JUDGING | READING | FRAMES,
    ("reports", "list"): ASKING | JUDGING | READING,
    ("store", "info"): ASKING | JUDGING | READING,
    ("store", "pins"): ASKING | JUDGING | READING,
    ("store", "verify"): VENDORS | READING,
    ("store", "declare", EXCHANGE, "--calendar", "XNYS"): ASKING | JUDGING | READING,
    ("commits", EXCHANGE): ASKING | JUDGING | READING,
    ("export", EXCHANGE, "-o", "out.csv"): ASKING | JUDGING | READING | TABLES,
    ("import", "bars.csv", "--series", EXCHANGE): ASKING | LOOKING | TABLES,
    ("coverage", EXCHANGE, *RANGE): VENDORS | READING,
    FETCH: VENDORS | READING | TABLES,
    ("store", "compact"): ASKING | JUDGING | READING,
}


@pytest.mark.parametrize("words", NEEDLESS_TO, ids=lambda words: " ".join(words[:2]))
def test_nothing_needless_is_loaded(warm: Warm, words: tuple[str, ...]) -> None:
    ended = warm.run(*words)
    assert "numpy" in ended.modules
    assert ended.modules & (NEEDLESS | NEEDLESS_TO[words]) == set()
    assert not ended.settings_checked


def _module(command: str) -> str:
    return "qmtl.interfaces.cli." + command.partition(".")[0]


FUNCTIONS = [*COMMANDS.values(), *(each for _, family in FAMILIES.values() for each in family.values())]


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (FETCH, COMMANDS["fetch"]),
        (("import", "bars.csv", "--series", EXCHANGE), COMMANDS["import"]),
        (("store", "pins"), FAMILIES["store"][1]["pins"]),
    ],
    ids=["fetch", "import", "store pins"],
)
def test_of_all_commands_one_is_made(warm: Warm, words: tuple[str, ...], function: str) -> None:
    loaded = warm.run(*words).modules
    assert loaded & set(map(_module, FUNCTIONS)) == {_module(function)}


@pytest.mark.parametrize(
    "words", [FETCH, ("import", "bars.csv", "--series", EXCHANGE)], ids=["fetch", "import"]
)
def test_garbage_is_looked_for_neither_while_modules_come_nor_when_they_go(
    warm: Warm, words: tuple[str, ...]
) -> None:
    ended = warm.run(*words)
    assert ended.collections <= 1
    assert ended.frozen > 50_000


PLUGIN = """
class Plugin:
    def new_schema_validator(self, *_, **__):
        return None, None, None

plugin = Plugin()
"""


def test_no_package_is_searched_for_plugins_of_pydantic(warm: Warm, tmp_path: Path) -> None:
    described = tmp_path / "plugged-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[pydantic]\nplugged = plugged:plugin\n")
    (tmp_path / "plugged.py").write_text(PLUGIN)
    settings = tmp_path / "settings.yml"
    settings.write_text("seamless: {settle: 2m}")
    for words in (FETCH, ("import", "bars.csv", "--series", EXCHANGE), ("store", "info")):
        for config in ((), ("--config", str(settings))):
            ended = warm.run(*config, *words, search=tmp_path)
            assert "pydantic" in ended.modules
            assert "plugged" not in ended.modules
            assert ended.settings_checked is bool(config)


def test_a_calendar_costs_next_to_nothing(warm: Warm) -> None:
    """Building it takes several times as long as all else; the bound leaves room for a busy machine."""
    pairs = [
        (warm.seconds("coverage", EXCHANGE, *RANGE), warm.seconds("coverage", ALWAYS_OPEN, *RANGE))
        for _ in range(4)
    ]
    assert min(exchange for exchange, _ in pairs) < 1.3 * min(other for _, other in pairs)
