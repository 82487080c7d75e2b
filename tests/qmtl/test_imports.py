"""`import qmtl` is quick: heavy libraries load when they are used, and every public name can be had."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import qmtl

HEAVY = (
    "aiohttp", "asyncio", "ccxt", "exchange_calendars", "numpy", "pandas", "polars",
    "prometheus_client", "pyarrow", "pydantic", "rich", "ssl", "structlog", "typer", "yaml",
)  # fmt: skip


def loaded_after(program: str, cwd: Path | None = None, **environment: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded after `program`."""
    code = f"{program}\nimport sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    return set(done.stdout.split())


def test_import_qmtl_loads_nothing_heavy() -> None:
    assert loaded_after("import qmtl") == set()


def test_the_measure_would_notice() -> None:
    assert loaded_after("import numpy") == {"numpy"}


def test_values_do_not_load_frames() -> None:
    assert loaded_after("import qmtl; qmtl.Span, qmtl.Coverage, qmtl.SeriesId, qmtl.SLAPolicy") == {"numpy"}


def test_calendars_load_exchange_calendars_once_and_for_all(tmp_path: Path) -> None:
    """Sessions are computed by the first process that asks, and read by all later ones."""
    program = (
        "from qmtl.foundation.calendars import FX, calendar_named; calendar_named('FX'); calendar_named(None)"
    )
    cache = {name: str(tmp_path) for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA")}
    assert "exchange_calendars" not in loaded_after(program, **cache)
    program += "; from qmtl import Span; print(calendar_named('XNAS').sessions(Span(0, 10**18)).length)"
    first, second = (loaded_after(program, **cache) for _ in range(2))
    assert {"exchange_calendars", "pandas"} <= first
    assert not {"exchange_calendars", "pandas", "pyarrow"} & second
    assert first & second > {"numpy"}, "both have reported how long it was open"


# A store with a day of bars that all have an answer.
FILL = """
import polars as pl
from qmtl import import_frame
bars = pl.DataFrame({"ts": [f"2024-01-02T{hour:02}:00Z" for hour in range(24)]})
bars = bars.with_columns(open=2.0, high=3.0, low=1.0, close=2.0, volume=1.0)
import_frame("store", bars, "ohlcv:binance:BTC/USDT:1h")
"""
MAKE = "from qmtl import SeamlessDataProvider\nwith SeamlessDataProvider('store') as provider:"
DAY = ("ohlcv:binance:BTC/USDT:1h", "2024-01-02", "2024-01-03")
FETCH = f"{MAKE}\n    assert provider.fetch{DAY}.frame.height == 24"
REPORT = f"{MAKE}\n    assert provider.fetch{DAY}.report.passes"
COUNT = "\nimport sys; print(sum(name.startswith('qmtl.') for name in sys.modules))"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    subprocess.run([sys.executable, "-c", FILL], cwd=folder, check=True)
    return folder


def test_a_provider_that_is_made_loads_frames_alone(warm: Path) -> None:
    assert loaded_after(f"{MAKE} pass", cwd=warm) == {"numpy", "polars"}


def test_a_stored_fetch_loads_what_counts_it_and_nothing_that_asks(warm: Path) -> None:
    """The series has a vendor, of ccxt, which need not be asked, and so is neither loaded nor closed."""
    assert loaded_after(FETCH, cwd=warm) == {"numpy", "polars", "prometheus_client", "ssl"}


def test_a_stored_fetch_and_its_report_load_no_masked_arrays(warm: Path) -> None:
    """They take as long as twenty modules of ours; old versions of numpy load them by themselves."""
    asked = "\nimport sys; print('numpy.ma' in sys.modules)"
    by_numpy, by_fetch = (
        subprocess.run(
            [sys.executable, "-c", program + asked], cwd=warm, check=True, capture_output=True, text=True
        ).stdout
        for program in ("import numpy", REPORT)
    )
    assert by_fetch == by_numpy


def test_a_command_on_a_folder_that_a_pipe_reads_loads_no_colours_and_no_servers(warm: Path) -> None:
    program = (
        f"import sys; sys.argv = ['qmtl', '--store', 'store', 'coverage', *{DAY}]\n"
        "from qmtl.interfaces.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "unwanted = {'rich', 'qmtl.foundation.questdb_address', 'qmtl.foundation.store_address'}\n"
        "print('loaded:', *unwanted & set(sys.modules))"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=warm,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**environment, "PYTHONIOENCODING": "utf-8"},
    )
    assert "present" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize(("program", "most"), [(f"{MAKE} pass", 162), (FETCH, 162)], ids=["made", "fetched"])
def test_how_many_modules_of_ours_are_met(warm: Path, program: str, most: int) -> None:
    """Each takes some 0.4 ms, so a new one on the way is a reason to look at it."""
    done = subprocess.run(
        [sys.executable, "-c", program + COUNT], cwd=warm, check=True, capture_output=True, text=True
    )
    assert 100 < int(done.stdout) <= most


def collections_of(*, collects: bool) -> tuple[int, bool]:
    """How often a fresh interpreter looks for garbage as it loads a provider, and whether it does so then."""
    code = (
        f"import gc; gc.{'enable' if collects else 'disable'}()\n"
        "def count(): return sum(generation['collections'] for generation in gc.get_stats())\n"
        "import polars, qmtl\nbefore = count()\nqmtl.SeamlessDataProvider\n"
        "print(count() - before, gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    count, collects_after = done.stdout.split()
    return int(count), collects_after == "True"


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_not_looked_for_while_modules_come_and_then_as_before(collects: bool) -> None:
    count, collects_after = collections_of(collects=collects)
    assert count <= 1
    assert collects_after is collects


def test_garbage_is_looked_for_again_after_a_module_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(qmtl._HOME, "Spam", "qmtl.spam")
    with pytest.raises(ModuleNotFoundError, match="spam"):
        qmtl.Spam  # noqa: B018
    assert gc.isenabled()


@pytest.mark.parametrize("name", [name for name in qmtl.__all__ if name != "__version__"])
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(qmtl, name).__name__ == name
    assert name in dir(qmtl)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Spam'"):
        qmtl.Spam  # noqa: B018
