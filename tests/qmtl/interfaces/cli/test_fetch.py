"""`qmtl fetch`: what people see, what machines read, and the files that are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from qmtl.foundation.errors import SourceUnavailableError
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.testing import Raise, ScriptedVendor, Stop

if TYPE_CHECKING:
    from tests.qmtl.command_line import CommandLine

SERIES = "ohlcv:test:BTC/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
Serve = Callable[..., ScriptedVendor]
START = to_ns(DAY[0])


def test_people_see_the_frame_and_the_receipt(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    result = cli.run("fetch", SERIES, *DAY)
    assert result.exit_code == 0, result.output
    for part in ("1_440", "2024-01-01 23:59:00", "present 1,440", "fingerprint", "blake3:"):
        assert part in result.stdout
    assert result.stderr == ""


def test_machines_read_one_document_on_stdout(cli: CommandLine, vendor: Serve) -> None:
    made = vendor(no_trade=Coverage.of(Span(START + 5 * MINUTE, START + 7 * MINUTE)))
    reported = cli.json("fetch", SERIES, "2024-01-01", "2024-01-01T00:10Z")
    assert reported["coverage"]["counts"] | {"present": 8, "no_trade": 2} == reported["coverage"]["counts"]
    assert reported["receipt"]["bars"] == reported["coverage"]["counts"]
    assert reported["report"]["series"] == SERIES
    expected = made.bars(SERIES, Span(START, START + 10 * MINUTE))
    assert [bar["close"] for bar in reported["bars"]] == expected["close"].to_list()
    assert reported["bars"][5]["ts"] == "2024-01-01T00:07:00Z"


def test_json_may_stand_behind_the_command_too(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    result = cli.run("fetch", SERIES, *DAY, "--json")
    assert json.loads(result.stdout)["rows"] == 1_440
    assert "present 1,440" in result.stderr


READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "parquet": pl.read_parquet,
    "arrow": pl.read_ipc,
    "csv": lambda path: pl.read_csv(path, schema_overrides={"ts": pl.String}),
    "json": lambda path: pl.DataFrame(json.loads(path.read_text())),
}


@pytest.mark.parametrize("suffix", READERS)
def test_the_file_holds_exactly_the_frame(cli: CommandLine, vendor: Serve, suffix: str) -> None:
    made = vendor()
    path = cli.folder / f"out.{suffix}"
    assert cli.run("fetch", SERIES, *DAY, "-o", path).exit_code == 0
    expected = made.bars(SERIES, Span(START, to_ns(DAY[1])))
    found = READERS[suffix](path)
    if found.schema["ts"] == pl.String:
        assert found["ts"][1] == "2024-01-01T00:01:00Z"
        found = found.with_columns(pl.col("ts").str.to_datetime(time_unit="ns", time_zone="UTC"))
    assert found.equals(expected)
    assert [one.name for one in cli.folder.iterdir() if "out" in one.name] == [path.name], (
        "nothing is left over"
    )


@pytest.mark.parametrize("name", ["out.xlsx", "out", "nowhere/out.csv"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_asked(
    cli: CommandLine, vendor: Serve, name: str
) -> None:
    made = vendor()
    result = cli.run("fetch", SERIES, *DAY, "-o", name)
    assert result.exit_code == 2
    assert name in result.stderr
    assert made.calls == []
    assert not cli.store.exists()


def test_a_failed_fetch_leaves_the_old_file_alone(cli: CommandLine, vendor: Serve) -> None:
    vendor(faults={0: Stop()})
    path = cli.folder / "out.csv"
    path.write_text("precious")
    assert cli.run("fetch", SERIES, *DAY, "-o", path).exit_code == 3
    assert path.read_text() == "precious"


def test_the_receipt_is_written(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    path = cli.folder / "receipt.json"
    reported = cli.json("fetch", SERIES, *DAY, "--receipt", path)
    assert json.loads(path.read_text()) == reported["receipt"]
    assert reported["receipt"]["series"] == SERIES


def test_holes_are_exit_3_and_with_partial_ok_an_answer(cli: CommandLine, vendor: Serve) -> None:
    vendor(absent=Coverage.of(Span(START, START + MINUTE)))
    result = cli.run("fetch", SERIES, *DAY)
    assert result.exit_code == 3
    assert "1 absent" in result.stderr
    assert result.stdout == ""
    reported = cli.json("fetch", SERIES, *DAY, "--partial-ok")
    assert reported["rows"] == 1_439
    assert reported["coverage"]["spans"]["absent"] == [["2024-01-01", "2024-01-01T00:01:00Z"]]


def test_an_error_is_json_on_stdout_too(cli: CommandLine, vendor: Serve) -> None:
    vendor(absent=Coverage.of(Span(START, START + MINUTE)))
    reported = cli.json("fetch", SERIES, *DAY, code=3)
    assert reported["error"]["holes"] == {"absent": [["2024-01-01", "2024-01-01T00:01:00Z"]]}
    assert reported["error"]["series"] == SERIES


def test_a_source_that_fails_is_exit_7(cli: CommandLine, vendor: Serve) -> None:
    vendor(faults={0: Raise(SourceUnavailableError("the exchange is on holiday", source="x"))})
    result = cli.run("fetch", SERIES, *DAY)
    assert result.exit_code == 7
    assert "on holiday" in result.stderr


def test_an_sla_file_is_read_and_a_breach_is_exit_5(cli: CommandLine, vendor: Serve) -> None:
    made = vendor()
    sla = cli.folder / "sla.yml"
    sla.write_text("sync_gap: 10\n")
    result = cli.run("fetch", SERIES, *DAY, "--sla", sla)
    assert result.exit_code == 5
    assert "sync_gap" in result.stderr
    assert made.calls == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("totl: 2s\n", "did you mean 'total'"),
        ("total: soon\n", "soon"),
        ("[", "not YAML"),
        ("7\n", "no keys"),
        ("", "no keys"),
        ("total: 2024-13-01", "a value cannot be read"),
    ],
)
def test_an_sla_file_that_cannot_be_used_is_exit_2(
    cli: CommandLine, vendor: Serve, text: str, message: str
) -> None:
    vendor()
    sla = cli.folder / "sla.yml"
    sla.write_text(text)
    result = cli.run("fetch", SERIES, *DAY, "--sla", sla)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "sla.yml" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((SERIES, "2024-01-02", "2024-01-01"), "comes after"),
        ((SERIES, "2199-01-01", "2199-01-02"), "future"),
        (("ohlcv:test:BTC:7m", *DAY), "7m"),
        (("BTC", *DAY), "node id"),
        ((SERIES, "yesterday", "2024-01-01"), "yesterday"),
        ((SERIES, *DAY, "--strategy", "MAGIC"), "SEAMLESS"),
        ((SERIES, *DAY, "--fill", "guess"), "guess"),
    ],
)
def test_bad_input_is_exit_2_and_is_named(
    cli: CommandLine, vendor: Serve, words: tuple[str, ...], message: str
) -> None:
    vendor()
    result = cli.run("fetch", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_receipt_time_reads_the_same_again(cli: CommandLine, vendor: Serve) -> None:
    made = vendor()
    first = cli.json("fetch", SERIES, *DAY)
    as_of = first["receipt"]["as_of"]
    rows = made.bars(SERIES, Span(START, START + MINUTE)).with_columns(volume=pl.col("volume") + 1.0)
    path = cli.folder / "new.parquet"
    rows.write_parquet(path)
    assert cli.run("import", path, "--series", SERIES).exit_code == 0
    then = cli.json("fetch", SERIES, *DAY, "--as-of", as_of)
    assert then["receipt"]["fingerprint"] == first["receipt"]["fingerprint"]
    now = cli.json("fetch", SERIES, *DAY)
    assert now["receipt"]["fingerprint"] != first["receipt"]["fingerprint"]
    difference = cli.json("diff", SERIES, as_of, now["receipt"]["as_of"])
    assert difference["counts"] == {"changed": 1}
    assert difference["changes"][0]["new_volume"] == first["bars"][0]["volume"] + 1.0


def test_fill_marks_what_was_filled(cli: CommandLine, vendor: Serve) -> None:
    vendor(no_trade=Coverage.of(Span(START + 5 * MINUTE, START + 6 * MINUTE)))
    reported = cli.json("fetch", SERIES, "2024-01-01", "2024-01-01T00:10Z", "--fill", "flat")
    assert [bar["filled"] for bar in reported["bars"]] == [False] * 5 + [True] + [False] * 4
    assert reported["bars"][5]["close"] == reported["bars"][4]["close"]


def test_partial_fill_answers_at_once_and_then_asks(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    assert cli.json("fetch", SERIES, *DAY, "--strategy", "partial_fill")["rows"] == 0
    assert cli.json("fetch", SERIES, *DAY, "--strategy", "fail_fast")["rows"] == 1_440


def test_bars_and_receipt_need_files_of_their_own(cli: CommandLine, vendor: Serve) -> None:
    vendor()
    result = cli.run("fetch", SERIES, *DAY, "-o", "one.json", "--receipt", "./one.json")
    assert result.exit_code == 2
    assert "one.json" in result.stderr
    assert not (cli.folder / "one.json").exists()
