"""`import qmtl` is quick: heavy libraries load when they are used, and every public name can be had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import qmtl

HEAVY = (
    "aiohttp", "ccxt", "exchange_calendars", "numpy", "pandas", "polars", "prometheus_client", "pyarrow",
    "pydantic", "rich", "structlog", "typer",
)  # fmt: skip


def loaded_after(program: str, **environment: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded after `program`."""
    code = f"{program}\nimport sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
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
    assert first & second > {"numpy"}, "both have told how long it was open"


@pytest.mark.parametrize("name", [name for name in qmtl.__all__ if name != "__version__"])
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(qmtl, name).__name__ == name
    assert name in dir(qmtl)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Spam'"):
        qmtl.Spam  # noqa: B018
