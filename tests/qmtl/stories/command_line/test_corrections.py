"""Refresh, retract and commits, as people and machines use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing import ScriptedVendor, Stop

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

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


@pytest.mark.parametrize("command", ["fetch", "backfill"])
def test_bars_refused_twice_are_named_with_what_asks_for_them(
    cli: CommandLine, vendor: Serve, command: str
) -> None:
    source = vendor()
    good = source.bars(SeriesId.parse(SERIES), minutes(7, 9))
    source.correct(SERIES, good.with_columns(high=pl.col("low") / 2))
    for _ in range(2):
        first = cli.run(command, SERIES, *HOUR)
        assert first.exit_code == 3, first.output
    third = cli.run(command, SERIES, *HOUR)
    assert third.exit_code == 3
    assert "2 bars refused twice: not asked for again before " in third.stderr
    assert "'qmtl refresh' asks for refused bars now" in third.stderr
    source.correct(SERIES, good)
    assert cli.json("refresh", SERIES, *HOUR)["corrections"] == 2
    assert cli.run(command, SERIES, *HOUR).exit_code == 0


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


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("commits", ()),
        ("diff", HOUR),
        ("retract", (*HOUR, "--reason", "x")),
        ("export", ("-o", "bars.csv")),
    ],
)
def test_a_series_that_the_store_does_not_know_is_refused(
    cli: CommandLine, vendor: Serve, command: str, more: tuple[str, ...]
) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    result = cli.run(command, "ohlcv:test:ETH:1m", *more)
    assert result.exit_code == 2, result.output
    assert "the store has no " in result.stderr
    assert "'qmtl store info' lists what it has" in result.stderr


def test_retracting_what_nobody_knows_changes_nothing(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    before = cli.json("commits", SERIES)
    result = cli.run("retract", SERIES, "2020-01-01", "2020-01-02", "--reason", "x")
    assert result.exit_code == 0, result.output
    assert "nothing was known; nothing changed" in result.stdout
    assert cli.json("commits", SERIES) == before


def test_refresh_names_what_was_not_answered(cli: CommandLine, vendor: Serve) -> None:
    source = vendor()
    cli.run("fetch", SERIES, *HOUR)
    source.page_rows, source.faults = 30, {2: Stop()}
    result = cli.run("refresh", SERIES, *HOUR)
    assert result.exit_code == 3, result.output
    assert "asked again  60 bars, 30 answered" in result.stdout
    rest = "[2024-01-01T00:30:00Z, 2024-01-01T01:00:00Z)"
    assert f"30 bars asked for again and not answered: {rest}" in result.stderr
    source.faults = {4: Stop()}
    found = cli.run("--json", "refresh", SERIES, *HOUR)
    assert found.exit_code == 3
    unanswered = [["2024-01-01T00:30:00Z", "2024-01-01T01:00:00Z"]]
    assert json.loads(found.stdout)["unanswered"] == unanswered


def test_refresh_of_an_unknown_series_is_refused(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    result = cli.run("refresh", SERIES.replace("BTC", "XTC"), *HOUR)
    assert result.exit_code == 2, result.output
    assert "the store has no commit of this series" in result.stderr


def test_refresh_shows_findings_of_the_corrections(cli: CommandLine, vendor: Serve) -> None:
    source = vendor()
    cli.run("fetch", SERIES, *HOUR)
    rows = source.bars(SeriesId.parse(SERIES), minutes(30, 31))
    source.correct(SERIES, rows.with_columns(pl.col("open", "high", "low", "close") * 3))
    result = cli.run("refresh", SERIES, *HOUR)
    assert result.exit_code == 0, result.output
    assert "further than the bars around explain" in result.stdout


def test_retract_of_a_range_in_which_no_bar_opens(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    hourly = SERIES.replace(":1m", ":1h")
    cli.run("fetch", hourly, "2024-01-01", "2024-01-02")
    words = ("2024-01-01T00:20:00Z", "2024-01-01T00:40:00Z", "--reason", "x")
    result = cli.run("retract", hourly, *words)
    assert result.exit_code == 2, result.output
    assert "no bar of the series opens in the range" in result.stderr


def test_diff_with_the_future_says_what_to_name(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    result = cli.run("diff", SERIES, "2025-01-01", "2131-01-01")
    assert result.exit_code == 2, result.output
    assert "lies in the future" in result.stderr
    assert "name two times up to now; 'qmtl commits' lists" in result.stderr


def test_a_commit_that_only_refused_rows_shows_where_they_were(cli: CommandLine, vendor: Serve) -> None:
    source = vendor()
    cli.run("fetch", SERIES, *HOUR)
    rows = source.bars(SeriesId.parse(SERIES), minutes(7, 9))
    source.correct(SERIES, rows.with_columns(high=pl.col("low") / 2))
    refreshed = cli.run("refresh", SERIES, "2024-01-01T00:07:00Z", "2024-01-01T00:09:00Z")
    assert refreshed.exit_code == 3, refreshed.output
    listed = cli.run("commits", SERIES).stdout
    assert "1970-" not in listed, "with its hyphen: the id of a commit may hold any digits"
    assert "[2024-01-01T00:07:00Z, 2024-01-01T00:09:00Z)" in listed


def test_results_of_corrections_are_short_facts(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    cli.run("fetch", SERIES, *HOUR)
    with SeamlessDataProvider(store=cli.store, vendors={}) as provider:
        taken = provider.retract(SERIES, *HOUR, reason="x")
        assert repr(taken).splitlines()[0] == "RetractResult"
        assert "60 rows" in repr(taken)
        assert taken._repr_html_().startswith("<table")
        with pytest.raises(InvalidRequestError) as refused:
            provider.retract(SERIES, *HOUR, reason="")
        assert refused.value._repr_html_().startswith("<table")
