"""Coverage, backfill, import, export, reports and store, as people and machines use them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from qmtl.foundation import times
from qmtl.foundation.errors import SourceUnavailableError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.testing import Raise, ScriptedVendor, Stop, synthetic_bars

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:test:BTC/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
Serve = Callable[..., ScriptedVendor]
START = to_ns(DAY[0])
SPAN = Span(START, to_ns(DAY[1]))


def csv_of(folder: Path, frame: pl.DataFrame, name: str = "bars.csv") -> Path:
    path = folder / name
    frame.with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
    return path


def day_of_bars() -> pl.DataFrame:
    return synthetic_bars(SeriesId.parse(SERIES), SPAN)


# -- coverage and backfill


def test_backfill_then_coverage(cli: CommandLine, vendor: Serve) -> None:
    vendor(no_trade=Coverage.of(Span(START + MINUTE, START + 2 * MINUTE)))
    assert cli.run("backfill", SERIES, "ohlcv:test:ETH:1m", *DAY).exit_code == 0
    result = cli.run("coverage", SERIES, "2024-01-01", "2024-01-03")
    assert result.exit_code == 0
    assert "█" in result.stdout
    assert "1,439 bars" in result.stdout
    assert "hole  [2024-01-02, 2024-01-03)  1,440 bars" in result.stdout
    reported = cli.json("coverage", SERIES, "2024-01-01", "2024-01-03")
    counts = {"present": 1_439, "no_trade": 1, "closed": 0, "absent": 0, "unknown": 1_440}
    assert reported["counts"] == counts
    assert reported["spans"]["no_trade"] == [["2024-01-01T00:01:00Z", "2024-01-01T00:02:00Z"]]
    assert cli.json("coverage", "ohlcv:test:ETH:1m", *DAY)["counts"]["present"] == 1_439


def test_coverage_makes_no_store(cli: CommandLine) -> None:
    result = cli.run("coverage", SERIES, *DAY)
    assert result.exit_code == 7
    assert "there is no store yet" in result.stderr
    assert not cli.store.exists()


def test_backfill_goes_on_with_the_others_when_one_fails(cli: CommandLine, vendor: Serve) -> None:
    vendor(faults={0: Raise(SourceUnavailableError("the exchange is on holiday", source="x"))})
    reported = cli.json("backfill", SERIES, "ohlcv:test:ETH:1m", *DAY, code=7)
    (done,) = reported["series"]  # they are asked together: the first page of all may be of either
    assert done["series"] in (SERIES, "ohlcv:test:ETH:1m")
    assert done["counts"]["present"] == 1_440
    assert [one["message"] for one in reported["failures"]] == ["the exchange is on holiday"]


def test_what_is_wrong_of_several_series_decides_the_exit_code(cli: CommandLine, vendor: Serve) -> None:
    """The source comes before what is missing, and that before what was typed; all of it is told."""
    down = Raise(SourceUnavailableError("the exchange is on holiday", source="x"))
    vendor(page_rows=1_000, faults={0: down})
    reported = cli.json("backfill", SERIES, *DAY, "--partial-ok", code=7)
    assert (reported["series"], len(reported["failures"])) == ([], 1)
    names = ("nonsense", SERIES, "ohlcv:test:ETH:1m")
    assert cli.run("backfill", *names, *DAY).exit_code == 2, "refused before anything is asked"
    reported = cli.json("backfill", *names, *DAY, "--partial-ok", code=2)
    assert [one["series"] for one in reported["series"]] == list(names[1:])
    assert [one["counts"]["present"] for one in reported["series"]] == [1_440, 1_440]
    assert [one["kind"] for one in reported["failures"]] == ["InvalidRequestError"]


def test_holes_are_no_failure_where_they_are_allowed(cli: CommandLine, vendor: Serve) -> None:
    vendor(page_rows=1_000, faults={1: Stop()})
    reported = cli.json("backfill", SERIES, *DAY, "--partial-ok")
    assert (reported["series"][0]["counts"]["unknown"], reported["failures"]) == (440, [])


def test_what_else_is_wrong_is_listed(cli: CommandLine, vendor: Serve) -> None:
    down = Raise(SourceUnavailableError("the exchange is on holiday", source="x"))
    vendor(faults={0: down, 1: down})
    reported = cli.json("fetch", SERIES, *DAY, code=7)
    assert reported["error"]["kind"] == "SourceUnavailableError"
    assert [other["kind"] for other in reported["error"]["others"]] == ["MissingDataError"]
    assert "also:   bars are missing: 1,440 unknown" in cli.run("fetch", SERIES, *DAY).stderr


def test_what_the_source_does_not_answer_for_is_exit_3(cli: CommandLine, vendor: Serve) -> None:
    vendor(page_rows=1_000, faults={1: Stop()})
    reported = cli.json("backfill", SERIES, *DAY, code=3)
    assert reported["series"][0]["counts"]["unknown"] == 440
    assert cli.json("backfill", SERIES, *DAY)["series"][0]["counts"]["unknown"] == 0


def test_backfill_without_a_vendor_is_exit_2(cli: CommandLine) -> None:
    result = cli.run("backfill", SERIES, *DAY)
    assert result.exit_code == 2
    assert "no vendor" in result.stderr


# -- import and export


def test_import_tells_what_it_brought(cli: CommandLine) -> None:
    bars = day_of_bars()
    path = csv_of(cli.folder, bars.filter(np.arange(1_440) != 700))
    reported = cli.json("import", path, "--series", SERIES, "--holes", "no_trade")
    assert reported["rows"] == 1_439
    assert reported["coverage"] | {"present": 1_439, "no_trade": 1} == reported["coverage"]
    assert reported["range"] == {"start": "2024-01-01", "end": "2024-01-02"}
    again = cli.run("import", path, "--series", SERIES, "--answered", *DAY)
    assert again.exit_code == 0, again.output
    assert "1,439 unchanged" in again.stdout


def test_import_says_which_bars_are_unknown(cli: CommandLine) -> None:
    gone = np.isin(np.arange(1_440), [10, 11, 12, 100, 200, 300, 400])
    path = csv_of(cli.folder, day_of_bars().filter(~gone))
    result = cli.run("import", path, "--series", SERIES)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("unknown")]
    assert "[2024-01-01T00:10:00Z, 2024-01-01T00:13:00Z), [2024-01-01T01:40:00Z" in line
    assert line.endswith("and 2 more spans")
    holes = cli.json("import", path, "--series", SERIES)["holes"]
    assert holes == {"unknown": cli.json("coverage", SERIES, *DAY)["spans"]["unknown"]}
    assert len(holes["unknown"]) == 5
    whole = cli.json("import", csv_of(cli.folder, day_of_bars()), "--series", SERIES)
    assert whole["holes"] == {}


def test_impossible_rows_refuse_the_file_with_line_numbers(cli: CommandLine) -> None:
    bars = day_of_bars()
    bad = bars.with_columns(
        low=pl.when(pl.Series(np.arange(1_440) == 5)).then(pl.col("high") + 1).otherwise("low")
    )
    path = csv_of(cli.folder, bad)
    refused = cli.run("import", path, "--series", SERIES)
    assert refused.exit_code == 4
    assert "line 7" in refused.stderr
    assert cli.json("import", path, "--series", SERIES, code=4)["error"]["report"]["errors"] > 0
    assert not cli.store.exists()
    reported = cli.json("import", path, "--series", SERIES, "--partial-ok")
    assert reported["quarantined"] == 1
    assert reported["coverage"]["unknown"] == 1


def test_import_options_reach_the_reader(cli: CommandLine) -> None:
    bars = day_of_bars().head(3)
    lines = [
        f"{ts // 10**6 + 60_000},{row['open'] * 100:.0f},{row['high'] * 100:.0f},{row['low'] * 100:.0f},"
        f"{row['close'] * 100:.0f}"
        for ts, row in zip(bars["ts"].to_physical(), bars.to_dicts(), strict=True)
    ]
    path = cli.folder / "odd.txt"
    path.write_text("\n".join(lines) + "\n")
    words = ["--columns", "ts,open,high,low,close,volume=", "--unit", "ms", "--label", "close"]
    result = cli.run("import", path, "--series", SERIES, *words, "--scale", "open,high,low,close=0.01")
    assert result.exit_code == 0, result.output
    reported = cli.json("fetch", SERIES, "2024-01-01", "2024-01-01T00:03Z", "--strategy", "FAIL_FAST")
    assert [bar["open"] for bar in reported["bars"]] == pytest.approx(bars["open"].to_list())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("missing.csv", "--series", SERIES), "missing.csv"),
        (("bars.csv", "--series", "ohlcv:x:y"), "node id"),
        (("bars.csv", "--series", SERIES, "--tz", "Mars/Olympus"), "Mars/Olympus"),
        (("bars.csv", "--series", SERIES, "--answered", "2024-01-02", "2024-01-01"), "after its end"),
        (("bars.csv", "--series", SERIES, "--calendar", "XNYZ"), "XNYZ"),
        (("empty.csv", "--series", SERIES), "empty.csv"),
    ],
)
def test_import_of_bad_input_is_exit_2_and_changes_nothing(
    cli: CommandLine, words: tuple[str, ...], message: str
) -> None:
    csv_of(cli.folder, day_of_bars())
    (cli.folder / "empty.csv").write_text("")
    result = cli.run("import", *words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not cli.store.exists()


@pytest.mark.parametrize("rows", ["2024-01-01T00:00Z,1,3,2,1,1\n", "yesterday,1,1,1,1,1\n"])
def test_a_refused_import_leaves_folders_as_they_were(cli: CommandLine, rows: str) -> None:
    path = cli.folder / "bad.csv"
    path.write_text(f"ts,open,high,low,close,volume\n{rows}")
    assert cli.run("import", path, "--series", SERIES).exit_code in (2, 4)
    assert not cli.store.exists()
    cli.store.mkdir()
    assert cli.run("import", path, "--series", SERIES).exit_code in (2, 4)
    assert os.listdir(cli.store) == []
    assert cli.run("import", csv_of(cli.folder, day_of_bars()), "--series", SERIES).exit_code == 0
    before = {place: place.read_bytes() for place in cli.store.iterdir()}
    assert cli.run("import", path, "--series", SERIES).exit_code in (2, 4)
    assert {place: place.read_bytes() for place in cli.store.iterdir()} == before


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "json"])
def test_an_export_can_be_imported_again(
    cli: CommandLine, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qmtl.interfaces.cli.export.PIECE", 500)
    bars = day_of_bars()
    cli.run("import", csv_of(cli.folder, bars), "--series", SERIES)
    path = cli.folder / f"out.{suffix}"
    reported = cli.json("export", SERIES, "-o", path)
    assert reported["rows"] == 1_440
    if suffix == "json":
        assert [row["close"] for row in json.loads(path.read_text())] == bars["close"].to_list()
        return
    back = cli.json("import", path, "--series", SERIES)
    assert (back["unchanged"], back["added"], back["replaced"]) == (1_440, 0, 0)


def test_a_part_is_exported(cli: CommandLine) -> None:
    cli.run("import", csv_of(cli.folder, day_of_bars()), "--series", SERIES)
    path = cli.folder / "out.parquet"
    result = cli.run("export", SERIES, "2024-01-01T12:00Z", "2024-01-01T13:00Z", "-o", path)
    assert result.exit_code == 0, result.output
    assert pl.read_parquet(path).equals(day_of_bars()[720:780])
    assert cli.run("export", "ohlcv:test:NONE:1m", "-o", path).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("export", SERIES, "--as-of", "1704067200", "-o", "out.csv"),
        ("diff", SERIES, "1704067200", "2024-02-01"),
        ("fetch", SERIES, *DAY, "--as-of", "1704067200", "--partial-ok"),
        ("store", "pin", "then", "--as-of", "1704067200"),
    ],
    ids=lambda words: words[0],
)
def test_a_commit_time_in_seconds_is_noted(
    cli: CommandLine, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "_small_int_seen", False)
    cli.run("import", csv_of(cli.folder, day_of_bars()), "--series", SERIES)
    assert "the int 1704067200 is nanoseconds, which is 1970-01-01" in cli.run(*words).stderr


# -- reports


def spiky(cli: CommandLine) -> None:
    bars = day_of_bars()
    spike = pl.Series(np.arange(1_440) == 700)
    high = pl.when(spike).then(pl.col("high") * 3).otherwise("high")
    close = pl.when(spike).then(pl.col("high") * 3).otherwise("close")
    result = cli.run(
        "import", csv_of(cli.folder, bars.with_columns(high=high, close=close)), "--series", SERIES
    )
    assert result.exit_code == 0, result.output
    assert "quality.price_spike" in result.stdout


def test_a_warning_is_shown_accepted_and_then_silent(cli: CommandLine) -> None:
    spiky(cli)
    fetch = ("fetch", SERIES, *DAY, "--strategy", "FAIL_FAST")
    assert cli.run(*fetch).exit_code == 4
    listed = cli.json("reports", "list")
    assert [one["series"] for one in listed] == [SERIES] * len(listed)
    address = listed[0]["address"]
    shown = cli.json("reports", "show", address)
    assert shown == cli.json("reports", "show", SERIES)
    assert shown["warnings"] >= 1
    text = cli.run("reports", "show", SERIES)
    assert "quality.price_spike" in text.stdout
    done = cli.json("reports", "accept", SERIES)
    assert {one["rule"] for one in done["accepted"]} == {"quality.price_spike"}
    assert all(one["new"] == one["found"] for one in done["accepted"])
    assert cli.run(*fetch).exit_code == 0
    again = cli.json("reports", "accept", SERIES, "--start", DAY[0], "--end", DAY[1])
    assert all(one["new"] == 0 for one in again["accepted"])


def test_what_a_refused_fetch_advises_can_be_run_as_it_is_written(cli: CommandLine) -> None:
    spiky(cli)
    later = synthetic_bars(SeriesId.parse(SERIES), Span(SPAN.end, SPAN.end + SPAN.length))
    cli.run("import", csv_of(cli.folder, later), "--series", SERIES)  # the newest report is of this day
    fetch = ("fetch", SERIES, *DAY, "--strategy", "FAIL_FAST")
    advised = re.findall(r"'qmtl (reports .*?)'", cli.run(*fetch).stderr.replace("\n", " "))
    assert [words.split()[1] for words in advised] == ["show", "accept"]
    for words in advised:
        done = cli.run(*words.split())
        assert done.exit_code == 0, done.output
    assert "quality.price_spike" in done.stdout
    assert cli.run(*fetch).exit_code == 0


def test_only_the_named_rule_is_accepted(cli: CommandLine) -> None:
    spiky(cli)
    assert cli.json("reports", "accept", SERIES, "--rule", "quality.stale_run")["accepted"] == []
    assert cli.run("fetch", SERIES, *DAY, "--strategy", "FAIL_FAST").exit_code == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("accept", SERIES, "--rule", "quality.high_below_low"), "only warnings are accepted"),
        (("accept", SERIES, "--rule", "quality.price_spik"), "did you mean 'quality.price_spike'"),
        (("accept", SERIES, "--start", "2024-01-01"), "go together"),
        (("accept", "ohlcv:test:NONE:1m"), "no report"),
        (("show", "ohlcv:test:NONE:1m"), "no report"),
        (("show", "qmtl://elsewhere"), "report address"),
    ],
)
def test_reports_bad_input_is_exit_2(cli: CommandLine, words: tuple[str, ...], message: str) -> None:
    spiky(cli)
    result = cli.run("reports", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_all_rules_are_listed(cli: CommandLine) -> None:
    from qmtl.runtime.conformance.rules import RULES

    assert [rule["id"] for rule in cli.json("reports", "rules")] == list(RULES)
    text = cli.run("reports", "rules").stdout
    assert all(rule in text for rule in RULES)


# -- store


def test_store_info_verify_and_compact(cli: CommandLine) -> None:
    bars = day_of_bars()
    for number in range(3):
        part = csv_of(cli.folder, bars[number * 400 : number * 400 + 400], f"{number}.csv")
        assert cli.run("import", part, "--series", SERIES).exit_code == 0
    reported = cli.json("store", "info")
    assert reported["rows"] == 1_200
    assert [(one["series"], one["first"]) for one in reported["series"]] == [(SERIES, "2024-01-01")]
    assert SERIES in cli.run("store", "info").stdout
    sound = cli.json("store", "verify")
    assert sound["sound"] is True
    assert cli.run("store", "compact").exit_code == 0
    assert cli.json("store", "info")["hot_rows"] == 0
    assert cli.json("store", "info")["rows"] == 1_200


def test_a_point_in_time_is_pinned_read_and_released(cli: CommandLine) -> None:
    bars = day_of_bars()
    cli.run("import", csv_of(cli.folder, bars[:700]), "--series", SERIES)
    pin = cli.json("store", "pin", "paper")
    cli.run("import", csv_of(cli.folder, bars), "--series", SERIES)
    refused = cli.run("store", "pin", "paper")
    assert refused.exit_code == 2
    assert "the pin 'paper' holds another commit" in refused.stderr
    cli.config.write_text("seamless: {retention: 0s}\n")
    cli.json("store", "compact")
    assert cli.json("store", "pins") == [pin]
    then = cli.json("coverage", SERIES, *DAY, "--as-of", pin["as_of"])
    assert then["counts"]["present"] == 700
    assert cli.json("store", "unpin", "paper") == pin
    assert cli.json("store", "compact")["swept"] > 0


def test_damage_is_named_and_repaired(cli: CommandLine) -> None:
    import sqlite3

    cli.run("import", csv_of(cli.folder, day_of_bars()), "--series", SERIES)
    cli.run("store", "compact")
    (database,) = (path for path in cli.store.iterdir() if path.read_bytes()[:6] == b"SQLite")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE blob SET data = zeroblob(length(data))")
    connection.close()
    result = cli.run("store", "verify")
    assert result.exit_code == 7
    assert SERIES in result.stdout
    assert "--repair" in result.stderr
    assert cli.json("store", "verify", code=7)["sound"] is False
    assert cli.run("store", "verify", "--repair").exit_code == 0
    assert cli.json("coverage", SERIES, *DAY)["counts"]["unknown"] == 1_440


@pytest.mark.parametrize(
    "words",
    [
        "store info",
        "store verify",
        "store compact",
        "reports list",
        f"diff {SERIES} 2024-01-01 2024-01-02",
        f"export {SERIES} -o x.csv",
    ],
)
def test_a_store_that_is_not_there_is_exit_7_and_is_not_made(cli: CommandLine, words: str) -> None:
    result = cli.run(*words.split())
    assert result.exit_code == 7
    assert not cli.store.exists()
    assert "there is no store yet" in result.stderr


def test_a_folder_that_is_no_store_is_exit_7(cli: CommandLine) -> None:
    cli.store.mkdir()
    (cli.store / "holiday.jpg").write_bytes(b"beach")
    result = cli.run("import", csv_of(cli.folder, day_of_bars()), "--series", SERIES)
    assert result.exit_code == 7
    assert str(cli.store) in result.stderr
    assert os.listdir(cli.store) == ["holiday.jpg"]


# -- settings


def test_a_typo_in_the_settings_names_the_nearest_key(cli: CommandLine) -> None:
    cli.config.write_text("seamless:\n  partial_okay: true\n")
    result = cli.run("fetch", SERIES, *DAY)
    assert result.exit_code == 2
    for part in ("qmtl.yml", "partial_okay", "partial_ok'"):
        assert part in result.stderr


def test_a_symbol_is_never_read_as_a_pictograph(cli: CommandLine) -> None:
    name = "ohlcv:a:b:1m"
    cli.run("import", csv_of(cli.folder, day_of_bars()), "--series", name)
    for command in (("coverage", name, "2024-01-01", "2024-01-02"), ("store", "info")):
        assert name in cli.run(*command).stdout


def test_a_wrong_declaration_can_be_corrected(cli: CommandLine) -> None:
    file = csv_of(cli.folder, day_of_bars())
    assert cli.run("import", file, "--series", SERIES, "--calendar", "FX").exit_code == 0
    refused = cli.run("import", file, "--series", SERIES, "--calendar", "24x7")
    assert refused.exit_code == 2
    assert f"qmtl store declare {SERIES} --calendar 24x7" in refused.stderr
    assert cli.run("store", "declare", SERIES, "--calendar", "24x8").exit_code == 2
    assert cli.run("store", "declare", SERIES).exit_code == 2
    assert cli.run("store", "declare", SERIES, "--calendar", "24x7").exit_code == 0
    assert cli.run("import", file, "--series", SERIES, "--calendar", "24x7").exit_code == 0
    cli.config.write_text("seamless:\n  series: [{match: '*', has_volume: true}]\n")
    mended = cli.json("store", "declare", SERIES, "--no-has-volume", "--allow-nonpositive")
    assert (mended["has_volume"], mended["allow_nonpositive"]) == (False, True)
    refused = cli.run("coverage", SERIES, *DAY)
    assert refused.exit_code == 2
    assert f"qmtl store declare {SERIES} --has-volume" in refused.stderr
