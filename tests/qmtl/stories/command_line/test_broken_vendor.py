"""An entry of qmtl.yml that makes no vendor stops what needs that vendor, and nothing else."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.vendors import installed_exchanges
from qmtl.runtime.sdk import from_settings, sources
from qmtl.runtime.testing import synthetic_bars

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SETTINGS = """seamless:
  vendors:
    - {match: "ohlcv:binanse:*", kind: ccxt, exchange: binanse}
    - {match: "ohlcv:lost:*", kind: files, path: "data/{symbl}.csv"}
    - match: "ohlcv:zoned:*"
      kind: files
      path: "data/{symbol}.csv"
      tz: Mars/Olympus
    - {match: "ohlcv:good:*", kind: files, path: "good/{symbol}.csv"}
"""
SERIES = "ohlcv:good:BTC:1h"
DAY = ("2024-01-01", "2024-01-02")


@pytest.fixture
def broken(cli: CommandLine) -> CommandLine:
    cli.config.write_text(SETTINGS)
    (cli.folder / "good").mkdir()
    (cli.folder / "data").mkdir()
    bars = synthetic_bars(SERIES, Span(to_ns(DAY[0]), to_ns(DAY[1])))
    bars.with_columns(bars["ts"].dt.to_string("%Y-%m-%dT%H:%M:%SZ")).write_csv(
        cli.folder / "good" / "BTC.csv"
    )
    return cli


@pytest.fixture
def without_ccxt(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str, package: str | None = None) -> Any:
        return None if name == "ccxt" else find_spec(name, package)

    monkeypatch.setattr(sources, "find_spec", found)
    monkeypatch.setattr(installed_exchanges, "find_spec", found)
    installed_exchanges.ccxt_exchanges.cache_clear()


def test_all_other_work_goes_on(broken: CommandLine) -> None:
    assert broken.run("import", "good/BTC.csv", "--series", SERIES).exit_code == 0
    for words in (
        ("coverage", SERIES, *DAY),
        ("store", "info"),
        ("store", "verify"),
        ("export", SERIES, "-o", "out.csv"),
        ("reports", "list"),
        ("reports", "accept", SERIES, "--start", DAY[0], "--end", DAY[1]),
        ("fetch", SERIES, *DAY),
        ("fetch", "ohlcv:binanse:BTC:1h", *DAY, "--strategy", "FAIL_FAST", "--partial-ok"),
    ):
        result = broken.run(*words)
        assert result.exit_code == 0, (words, result.output)


def test_a_sound_vendor_beside_it_is_asked(broken: CommandLine) -> None:
    assert broken.json("fetch", SERIES, *DAY)["rows"] == 24
    assert broken.json("backfill", SERIES, *DAY)["series"][0]["counts"]["present"] == 24


@pytest.mark.parametrize(
    ("venue", "place", "key", "hint"),
    [
        ("binanse", "qmtl.yml:3", "seamless.vendors[0].exchange", "did you mean binance"),
        ("lost", "qmtl.yml:4", "seamless.vendors[1].path", "{symbol}"),
        ("zoned", "qmtl.yml:8", "seamless.vendors[2].tz", "tz: America/New_York"),
    ],
)
@pytest.mark.parametrize("command", ["fetch", "backfill"])
def test_what_needs_it_is_reported_file_line_and_key(
    broken: CommandLine, command: str, venue: str, place: str, key: str, hint: str
) -> None:
    series = f"ohlcv:{venue}:BTC:1h"
    reported = broken.run(command, series, *DAY)
    assert reported.exit_code == 2, reported.output
    for word in (place, repr(key), series, "[2024-01-01, 2024-01-02)", hint):
        assert word in reported.stderr
    assert "Traceback" not in reported.output


def test_the_doctor_reports_each(broken: CommandLine) -> None:
    checks = {check["subject"]: check for check in broken.json("doctor", code=7)}
    for venue, place in (("binanse", ":3"), ("lost", ":4"), ("zoned", ":8")):
        check = checks[f"vendor ohlcv:{venue}:*"]
        assert check["outcome"] == "fail"
        assert place in check["detail"]
        assert check["fix"]
    assert checks["vendor ohlcv:good:*"]["outcome"] == "ok"


@pytest.mark.usefixtures("without_ccxt")
def test_a_missing_package_stops_its_own_vendor_alone(broken: CommandLine) -> None:
    assert broken.json("fetch", SERIES, *DAY)["rows"] == 24
    reported = broken.run("fetch", "ohlcv:binanse:BTC:1h", *DAY)
    assert reported.exit_code == 7
    for word in ("'ccxt' is not installed", "qmtl.yml:3", "ohlcv:binanse:BTC:1h", "pip install 'qmtl[ccxt]'"):
        assert word in reported.stderr
    installed_exchanges.ccxt_exchanges.cache_clear()


def test_a_deferred_vendor_bears_the_name_of_the_made_one(broken: CommandLine) -> None:
    from qmtl.foundation.settings import Settings

    broken.config.write_text(SETTINGS.replace("exchange: binanse", "exchange: binance"))
    for number in (0, 3):
        entry = Settings.load(broken.config).seamless.vendors[number]
        assert from_settings.vendor_name(entry) == from_settings.vendor(entry).name  # type: ignore[attr-defined]  # both kinds have one
