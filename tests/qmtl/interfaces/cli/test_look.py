"""`qmtl import FILE --look`, and the look below a refusal."""

from __future__ import annotations

from pathlib import Path

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


def test_what_no_file_tells_stays_said_below_a_refusal(cli):
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
    assert result.exit_code == 0
    assert "a web page (HTML): 'Too many requests'" in result.stdout
