"""Refresh, retract and commits, as people and machines use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl
import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.testing import ScriptedVendor

if TYPE_CHECKING:
    from conftest import CommandLine

SERIES = "ohlcv:test:BTC/USDT:1m"
HOUR = ("2024-01-01", "2024-01-01T01:00:00Z")
START = to_ns(HOUR[0])
Serve = Callable[..., ScriptedVendor]


def minutes(first: int, last: int) -> Span:
    return Span(START + first * MINUTE, START + last * MINUTE)


def correct(vendor: ScriptedVendor, span: Span) -> None:
    rows = vendor.bars(SeriesId.parse(SERIES), span)
    vendor.correct(SERIES, rows.with_columns(pl.col("close") * 1.0, volume=pl.col("volume") + 1))


def test_refresh_shows_corrections_and_how_to_read_what_was_before(cli: CommandLine, vendor: Serve) -> None:
    source = vendor()
    cli.run("fetch", SERIES, *HOUR)
    correct(source, minutes(7, 9))
    source.no_trade = Coverage.of(minutes(20, 21))
    result = cli.run("refresh", SERIES, *HOUR)
    assert result.exit_code == 0, result.output
    assert "asked again  60 bars, 60 answered" in result.stdout
    assert "corrections  2 changed" in result.stdout
    assert "unconfirmed  [2024-01-01T00:20:00Z, 2024-01-01T00:21:00Z)" in result.stdout
    before = result.stdout.split("--as-of ")[1].split()[0]
    old = cli.json("fetch", SERIES, *HOUR, "--as-of", before)
    new = cli.json("fetch", SERIES, *HOUR)
    assert old["receipt"]["fingerprint"] != new["receipt"]["fingerprint"]


def test_refresh_as_json(cli: CommandLine, vendor: Serve) -> None:
    source = vendor()
    cli.run("fetch", SERIES, *HOUR)
    correct(source, minutes(7, 8))
    found = cli.json("refresh", SERIES, *HOUR)
    assert (found["asked"], found["answered"], found["corrections"]) == (60, 60, 1)
    assert [row["ts"] for row in found["changes"]] == ["2024-01-01T00:07:00Z"]
    assert found["changes"][0]["new_volume"] == found["changes"][0]["old_volume"] + 1


def test_retract_then_commits(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    result = cli.run("retract", SERIES, "2024-01-01T00:10", "2024-01-01T00:20", "--reason", "wrong symbol")
    assert result.exit_code == 0, result.output
    assert "retracted    10 rows and the answers of the range" in result.stdout
    assert cli.json("coverage", SERIES, *HOUR)["counts"]["unknown"] == 10
    shown = cli.run("commits", SERIES).stdout.splitlines()
    assert shown[1].split()[2] == "retract"
    assert "wrong symbol" in shown[1]
    assert "[2024-01-01T00:10:00Z, 2024-01-01T00:20:00Z)" in shown[1]
    commits = cli.json("commits", SERIES)["commits"]
    assert [one["kind"] for one in commits] == ["write", "retract"]
    assert commits[1]["reason"] == "wrong symbol"
    counts = cli.json("coverage", SERIES, *HOUR, "--as-of", commits[0]["as_of"])["counts"]
    assert counts["present"] == 60


def test_a_long_list_of_commits_is_cut_and_says_so(cli: CommandLine, vendor: Serve) -> None:
    source = vendor()
    cli.run("fetch", SERIES, *HOUR)
    for _ in range(3):
        correct(source, minutes(7, 8))
        cli.run("refresh", SERIES, *HOUR)
    shown = cli.run("commits", SERIES, "--limit", 1).stdout
    total = len(cli.json("commits", SERIES)["commits"])
    assert f"... {total - 1} earlier commits; --limit {total} shows all" in shown


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("retract", SERIES, *HOUR), 2, "--reason"),
        (("retract", SERIES, *HOUR, "--reason", " "), 2, "is not a reason"),
        (("retract", SERIES, HOUR[1], HOUR[0], "--reason", "x"), 2, "comes after end"),
        (("refresh", SERIES, HOUR[1], HOUR[0]), 2, "comes after end"),
        (("refresh", SERIES, "2200-01-01"), 2, "future"),
        (("commits", "nonsense"), 2, "nonsense"),
        (("commits", SERIES, "--limit", "0"), 2, "limit"),
    ],
)
def test_bad_input(cli: CommandLine, vendor: Serve, words: tuple[str, ...], code: int, text: str) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    result = cli.run(*words)
    assert (result.exit_code, text in result.stderr) == (code, True), result.output
    assert cli.json("coverage", SERIES, *HOUR)["counts"]["present"] == 60


def test_a_store_that_is_not_there_is_not_made(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    for words in (
        ("refresh", SERIES, *HOUR),
        ("retract", SERIES, *HOUR, "--reason", "x"),
        ("commits", SERIES),
    ):
        assert cli.run(*words).exit_code == 7
    assert not cli.store.exists()


def test_a_series_without_commits_says_so(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    assert "no commit of this series" in cli.run("commits", "ohlcv:test:ETH:1m").stdout
