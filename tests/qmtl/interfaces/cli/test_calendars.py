"""`qmtl calendars` lists what a series can be declared to follow, and says what cannot be built here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import exchange_calendars
import pytest

from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.exchanges import EXCHANGES
from qmtl.foundation.times import to_ns

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine


def test_all_calendars_and_whether_they_can_be_built(cli: CommandLine) -> None:
    lines = {line["calendar"]: line for line in cli.json("calendars")}
    assert set(lines) == {"24x7", "FX", *exchange_calendars.get_calendar_names(include_aliases=False)}
    failing = {name for name, line in lines.items() if not line["can_be_built"]}
    assert failing == {"XTAE", "ASEX", "XBEL", "XBSE", "XCYS"}
    assert all(lines[name]["why"] and lines[name]["first"] is None for name in failing)
    for name, line in lines.items():
        if name not in failing and name not in ("24x7", "FX"):
            sessions = calendar_named(name).sessions
            assert sessions(calendar_named(name).known)  # type: ignore[attr-defined]
            assert to_ns(line["first"]) < to_ns("2022-01-01") < to_ns("2026-01-01") < to_ns(line["last"])


def test_one_calendar_by_its_name_or_another(cli: CommandLine) -> None:
    (line,) = cli.json("calendars", "XTKS")
    assert line == {
        "calendar": "XTKS",
        "also": ["JPX"],
        "exchange": "Tokyo Stock Exchange",
        "country": "Japan (JP)",
        "zone": "Asia/Tokyo",
        "first": "1997-01-06",
        "last": line["last"],
        "why": None,
        "can_be_built": True,
    }
    for word in ("jpx", "xtks", "JPX"):
        assert cli.json("calendars", word) == [line]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("india", ["XBOM"]),
        ("IN", ["XBOM"]),
        ("tokyo", ["XTKS"]),
        ("Asia/Jakarta", ["XIDX"]),
        ("nyse", ["XNYS"]),
        ("never closes", ["24x7"]),
        ("fx", ["FX"]),
        ("tel aviv", ["XTAE"]),
    ],
)
def test_a_word_from_any_column(cli: CommandLine, word: str, found: list[str]) -> None:
    assert [line["calendar"] for line in cli.json("calendars", word)] == found


def test_people_read_a_table(cli: CommandLine) -> None:
    result = cli.run("calendars", "XTAE")
    assert result.exit_code == 0
    for fact in ("XTAE", "TASE", "Tel Aviv Stock Exchange", "Israel (IL)", "no: ValueError"):
        assert fact in result.stdout


def test_a_word_that_fits_nothing(cli: CommandLine) -> None:
    result = cli.run("calendars", "atlantis")
    assert result.exit_code == 2
    assert "no calendar fits 'atlantis'" in result.stderr
    assert exchange_calendars.__version__ in result.stderr


def test_every_exchange_of_the_library_has_a_name_and_a_country() -> None:
    names = set(exchange_calendars.get_calendar_names(include_aliases=False))
    assert names - set(EXCHANGES) == {"24/5", "24/7", "us_futures"}
    for exchange in EXCHANGES.values():
        assert exchange.name
        assert exchange.name == exchange.name.strip()
        assert len(exchange.code) == 2
        assert exchange.country[0].isupper()
    codes: dict[str, set[str]] = {}
    for exchange in EXCHANGES.values():
        codes.setdefault(exchange.code, set()).add(exchange.country)
    assert all(len(countries) == 1 for countries in codes.values())


def test_an_exchange_without_a_calendar_is_known_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        calendar_named("XNSE")
    assert "National Stock Exchange of India" in str(caught.value.why)
    assert "'qmtl calendars IN'" in str(caught.value.next_step)


def test_a_home_that_cannot_be_written_costs_time_only(cli: CommandLine, tmp_path: Path) -> None:
    """The folder of the cache is a file here, which not even root can write into."""
    (tmp_path / "home").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", "from qmtl.interfaces.cli.main import run; run()", "calendars", "XTKS"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr
    assert "1997-01-06" in done.stdout
