"""`qmtl import FILE --look`, and the look below a refusal."""

from __future__ import annotations

import shlex
from datetime import date, timedelta
from pathlib import Path

import pytest

BARS = "".join(f"1{d}.03.2024;10,5;11,5;9,5;11,0;70\n" for d in range(3, 8))
GERMAN = "Datum;Open;High;Low;Close;Volume\n" + BARS


def test_a_look_imports_nothing_and_makes_no_store(cli):
    Path("kurse.csv").write_text(GERMAN)
    result = cli.run("import", "kurse.csv", "--look")
    assert result.exit_code == 0
    assert "this reads it:" in result.stdout
    assert "--columns ts=Datum --decimal , --ts-format %d.%m.%Y" in result.stdout
    assert not cli.store.exists()


def test_it_is_data_with_json(cli):
    Path("kurse.csv").write_text(GERMAN)
    found = cli.json("import", "kurse.csv", "--look")
    assert found["readings"][0]["options"] == {"columns": "ts=Datum", "decimal": ",", "ts_format": "%d.%m.%Y"}
    assert found["readings"][0]["timeframe"] == "1d"
    assert found["first_lines"][0] == "Datum;Open;High;Low;Close;Volume"


def test_an_import_without_a_series_says_what_to_add(cli):
    Path("kurse.csv").write_text(GERMAN)
    result = cli.run("import", "kurse.csv")
    assert result.exit_code == 2
    assert "--series" in result.stderr
    assert "--look" in result.stderr


def test_below_a_refusal_stands_the_line_that_reads_the_file(cli):
    Path("kurse.csv").write_text(GERMAN)
    result = cli.run("import", "kurse.csv", "--series", "ohlcv:mine:X:1d", "--ts-format", "%d/%m/%Y")
    assert result.exit_code == 2
    error, _, look = result.stderr.partition("\n\n")
    assert error.startswith("error: kurse.csv has no column")
    assert "a look at kurse.csv" in look
    assert look.rstrip().endswith(
        "qmtl import kurse.csv --series ohlcv:mine:X:1d --columns ts=Datum --decimal , --ts-format %d.%m.%Y"
    )


def test_what_no_file_shows_stays_given_below_a_refusal(cli):
    Path("m.csv").write_text(
        "time,o,high,low,close,volume\n" + "".join(f"2024-03-04 09:3{k},1,1,1,1,1\n" for k in range(5))
    )
    result = cli.run("import", "m.csv", "--series", "ohlcv:mine:X:1m", "--tz", "America/New_York")
    assert result.exit_code == 2
    assert "--columns open=o --tz America/New_York" in result.stderr


def test_impossible_rows_are_followed_by_a_look_too(cli):
    Path("i.csv").write_text(
        "ts,open,high,low,close,volume\n"
        + "".join(f"2024-03-0{d},1,2,1,1,1\n" for d in (4, 5, 6))
        + "2024-03-07,1,0.5,1,1,1\n"
    )
    result = cli.run("import", "i.csv", "--series", "ohlcv:mine:X:1d")
    assert result.exit_code == 4
    assert "quality.high_below_low at line 5" in result.stderr
    assert "a look at i.csv" in result.stderr


def test_html_is_shown_as_what_it_is(cli):
    Path("bars.csv").write_text("<!DOCTYPE html><html><head><title>Too many requests</title></head></html>")
    result = cli.run("import", "bars.csv", "--look")
    assert result.exit_code == 2
    assert "a web page (HTML): 'Too many requests'" in result.stdout


HOURLY = "time,open,high,low,close,volume\n"


def test_a_refused_zone_is_never_dropped(cli):
    """Without it, local times would be stored as UTC, with exit 0."""
    Path("h.csv").write_text(HOURLY + "".join(f"2024-11-03 0{k}:00,1,1,1,1,{k}\n" for k in range(6)))
    result = cli.run("import", "h.csv", "--series", "ohlcv:mine:X:1h", "--tz", "America/New_York")
    assert result.exit_code == 2
    assert "comes twice in America/New_York" in result.stderr
    look = result.stderr.partition("a look at")[2]
    assert "2024-11-03 00:00,1,1,1,1,0" in look
    assert "qmtl import" not in look
    assert "--tz America/New_York stays as it was said" in look


@pytest.mark.parametrize(
    "words",
    [
        ("--tz", "America/New_York"),
        ("--scale", "open,high,low,close=0.01"),
        ("--label", "close"),
        ("--where", "note=x"),
        ("--calendar", "24x7"),
    ],
)
def test_what_no_file_shows_is_part_of_every_line_that_is_proposed(cli, words):
    """Semicolons that are said to be pipes; all else that is said stays."""
    Path("h.csv").write_text(
        "time;open;high;low;close;volume;note\n"
        + "".join(f"2024-03-05 0{k}:00;1;1;1;1;1;x\n" for k in range(1, 7))
    )
    result = cli.run("import", "h.csv", "--series", "ohlcv:mine:X:1h", "--separator", "|", *words)
    assert result.exit_code == 2
    look = result.stderr.partition("a look at")[2]
    lines = [line for line in look.splitlines() if "qmtl import" in line]
    assert len(lines) == 1, look
    assert " ".join(words) in lines[0]
    assert "left out of what was typed: --separator |" in look


def test_the_line_that_was_refused_is_not_proposed_again(cli):
    """However it is spelled: `--columns ts=time` reads what no `--columns` reads."""
    rows = "".join(f"2024-03-{k:02d},2,3,1,2,1\n" for k in range(1, 9))
    Path("i.csv").write_text(HOURLY + rows + "2024-03-09,2,1,3,2,1\n")
    for words in ((), ("--columns", "ts=time"), ("--ts-format", "%Y-%m-%d"), ("--separator", ",")):
        result = cli.run("import", "i.csv", "--series", "ohlcv:mine:X:1d", *words)
        assert result.exit_code == 4
        look = result.stderr.partition("a look at")[2]
        assert "qmtl import" not in look, words
        assert "no other line is proposed" in look


def test_a_file_cut_within_a_character_is_not_proposed_as_it_is(cli):
    rows = "".join(f"2024-03-{k:02d},2,3,1,2,1\n" for k in range(1, 9))
    Path("u.csv").write_bytes((HOURLY + rows).encode("utf-16")[:-5])
    result = cli.run("import", "u.csv", "--series", "ohlcv:mine:X:1d")
    assert result.exit_code == 2
    assert "this is not utf-16" in result.stderr
    assert "cut off within a character" in result.stderr
    assert "qmtl import" not in result.stderr


def test_a_look_that_finds_no_way_exits_with_2_and_is_shown(cli):
    Path("x.csv").write_text("a,b,c\n1,2,3\n")
    result = cli.run("import", "x.csv", "--look")
    assert result.exit_code == 2
    assert "no way of reading it was found" in result.stdout
    assert cli.json("import", "x.csv", "--look", code=2)["readings"] == []


def look_below(cli, *words, code=2):
    result = cli.run("import", *words)
    assert result.exit_code == code, result.stderr
    return result.stderr.partition("a look at ")[2]


@pytest.mark.parametrize("words", [(), ("--separator", "|"), ("--ts-format", "%d.%m.%Y")])
def test_a_condition_that_no_row_meets_is_never_dropped(cli, words):
    """Without it, bars of A would become bars of ZZ."""
    rows = "".join(f"A,2024-03-{k:02},2,3,1,2,1\n" for k in range(1, 9))
    Path("w.csv").write_text("ticker,date,open,high,low,close,volume\n" + rows)
    look = look_below(cli, "w.csv", "--series", "ohlcv:m:ZZ:1d", "--where", "ticker=ZZ", *words)
    assert "A,2024-03-01,2,3,1,2,1" in look
    assert "qmtl import" not in look


def test_a_calendar_that_was_given_is_not_asked_for(cli):
    rows = "".join(f"2024-07-{k:02} 03:00,2,3,1,2,1\n" for k in (1, 2, 3, 5, 8))
    Path("c.csv").write_text("date,open,high,low,close,volume\n" + rows)
    words = ("--calendar", "XNYS", "--tz", "America/New_York", "--label", "close")
    result = cli.run("import", "c.csv", "--series", "ohlcv:m:ZZ:1d", *words)
    assert result.exit_code == 4
    assert "none is declared" not in result.stderr
    for line in result.stderr.splitlines():
        assert "qmtl import" not in line or "--calendar XNYS" in line


@pytest.mark.parametrize("rows", [100, 5000])
@pytest.mark.parametrize(
    "words",
    [(), ("--columns", "ts=date"), ("--ts-format", "%Y-%m-%d"), ("--null", "N/A"), ("--encoding", "utf-8")],
)
@pytest.mark.parametrize("bad", ["1900-03-01,1,2,0.5,x,1", "1901-01-01,1,2,0.5,1,1"])
def test_faults_of_the_data_are_not_cured_by_the_same_line(cli, rows, words, bad):
    """A word among numbers, and a bar that is there twice: in what a look sees, or far from it."""
    start = date(1901, 1, 1)
    lines = [f"{start + timedelta(days=k)},2,3,1,2,1" for k in range(rows)]
    lines.insert(rows // 2, bad)
    Path("x.csv").write_text("date,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    code = 2 if "x" in bad else 4
    assert "qmtl import" not in look_below(cli, "x.csv", "--series", "ohlcv:m:ZZ:1d", *words, code=code)


def test_a_second_form_of_dates_joins_the_one_that_was_given(cli):
    """The given one is ambiguous by itself; that it was given decides which is meant."""
    rows = [f"{k:02}.01.2024,2,3,1,2,1\n" for k in range(1, 11)]
    rows += [f"{k:02}/01/2024,2,3,1,2,1\n" for k in range(11, 21)]
    Path("d.csv").write_text("date,open,high,low,close,volume\n" + "".join(rows))
    look = look_below(cli, "d.csv", "--series", "ohlcv:m:ZZ:1d", "--ts-format", "%d.%m.%Y")
    lines = [line.strip() for line in look.splitlines() if "qmtl import" in line]
    assert lines == ["qmtl import d.csv --series ohlcv:m:ZZ:1d --ts-format '%d.%m.%Y|%d/%m/%Y'"]
    assert cli.json(*shlex.split(lines[0])[1:])["added"] == 20


class TestOneOfSeveralFiles:
    BARS = "".join(f"2024-03-{k:02},2,3,1,2,1\n" for k in range(1, 9))

    def folder(self, second: str) -> None:
        Path("f").mkdir()
        Path("f/m1.csv").write_text("date,open,high,low,close,volume\n" + self.BARS)
        Path("f/m2.csv").write_text(second)

    def test_the_file_that_fails_is_looked_at(self, cli):
        self.folder("day;open;high;low;close;volume\n11.03.2024;2;3;1;2;1\n13.03.2024;2;3;1;2;1\n")
        look = look_below(cli, "f", "--series", "ohlcv:m:ZZ:1d")
        assert look.startswith("f/m2.csv")
        assert "11.03.2024;2;3;1;2;1" in look
        assert "the line is for f/m2.csv alone" in look
        assert "  qmtl import f/m2.csv --series ohlcv:m:ZZ:1d --columns ts=day --ts-format %d.%m.%Y" in look

    def test_so_is_the_one_with_impossible_rows(self, cli):
        self.folder("date,open,high,low,close,volume\n2024-03-11,2,1,3,2,1\n")
        assert look_below(cli, "f", "--series", "ohlcv:m:ZZ:1d", code=4).startswith("f/m2.csv")

    def test_files_that_disagree_get_no_line(self, cli):
        self.folder("date,open,high,low,close,volume\n2024-03-08,2,3,1,2.5,1\n2024-03-09,2,3,1,2,1\n")
        assert "qmtl import" not in look_below(cli, "f", "--series", "ohlcv:m:ZZ:1d", code=4)
