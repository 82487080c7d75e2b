"""A look proposes lines that read, each run as shown; where two fit, both are shown, and none is chosen."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.bar_files.look import Look, look_at, short_text_of, text_of
from qmtl.runtime.io.bar_files.look.sample import HEAD, TAIL

SOURCES = Path(__file__).parents[1] / "sources"
# Two readings of what is in these files fit, for good reasons.
OPEN_QUESTIONS = {
    "cryptodatadownload.csv": "two volumes",
    "databento-raw.csv": "whole prices, or counts of 1e-9",
    "excel-serial.csv": "days of a spreadsheet, or seconds of 1970",
    "kaggle-bitstamp-2021.csv": "two volumes",
    "metatrader5.csv": "two volumes",
}


def minutes(count: int, start: str = "2024-03-04T09:30Z") -> list[int]:
    return [to_ns(start) + k * MINUTE for k in range(count)]


def rows(stamps: list[object], separator: str = ",") -> str:
    """Rows of made-up bars: each opens where the one before closed."""
    return "".join(
        separator.join(map(str, (stamp, 10 + k, 12 + k, 9 + k, 11 + k, 100 + k))) + "\n"
        for k, stamp in enumerate(stamps)
    )


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only(look: Look) -> dict[str, object]:
    """The options of the one reading that fits."""
    assert len(look.readings) == 1, text_of(look)
    return look.readings[0].options


class TestProposedLines:
    @pytest.mark.parametrize("name", sorted(path.name for path in SOURCES.iterdir()))
    def test_every_source_is_read_by_a_line_that_is_shown(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        look = look_at(SOURCES / name)
        if name == "tradingview.csv":  # hours from 9:30: no file tells the calendar that they follow
            assert not look.readings
            assert "calendar=MIC" in text_of(look)
            look = look_at(SOURCES / name, calendar="XNYS")
        assert len(look.readings) == (2 if name in OPEN_QUESTIONS else 1), text_of(look)
        for reading, command in zip(look.readings, look.commands(), strict=True):
            words = shlex.split(command.replace("ohlcv:VENUE:SYMBOL", "ohlcv:mine:X"))
            result = CliRunner().invoke(app, ["--store", "bars", *words[1:]])
            assert result.exit_code == 0, f"{command}\n{result.output}"
            assert reading.frame.height > 0

    def test_a_line_is_as_short_as_it_can_be(self):
        assert only(look_at(SOURCES / "kaggle-bitstamp.csv")) == {"unit": "s"}
        assert only(look_at(SOURCES / "interactive-brokers.csv")) == {}
        assert only(look_at(SOURCES / "barchart.csv")) == {"skip_foot": 1, "columns": "close=Latest"}

    def test_the_reader_is_not_led_to_another_column(self):
        """Two columns of times: the one that was judged stays named, though a reader would find the other."""
        look = look_at(SOURCES / "cryptodatadownload.csv")
        assert [one.options["columns"] for one in look.readings] == [
            "ts=Unix,volume=Volume BTC",
            "ts=Unix,volume=Volume USDT",
        ]

    def test_columns_are_shown_with_reasons(self):
        look = look_at(SOURCES / "investing.csv")
        shown = {column.name: (column.role, column.why) for column in look.columns}
        assert shown["Price"] == ("close", "it is called 'Price'")
        assert shown["Vol."] == ("volume", "it is called 'Vol.'")
        assert shown["Change %"] == (None, "not used")

    def test_without_names_values_tell(self, tmp_path):
        """Open, close, high, low: the order of some Chinese vendors."""
        lines = "".join(f"{1709564400 + 60 * k},{10 + k},{11 + k},{12 + k},{9 + k},5\n" for k in range(20))
        look = look_at(written(tmp_path / "o.csv", lines))
        assert only(look) == {"columns": "ts,open,close,high,low,volume", "unit": "s"}

    def test_newest_first_does_not_exchange_open_and_close(self, tmp_path):
        lines = rows([1709564400 + 60 * k for k in range(20)]).splitlines()[::-1]
        look = look_at(written(tmp_path / "o.csv", "\n".join(lines)))
        assert only(look)["columns"] == "ts,open,high,low,close,volume"

    def test_open_and_close_that_values_do_not_tell_are_both_shown(self, tmp_path):
        """Every bar opens and closes far from its neighbours."""
        lines = "".join(f"{1709564400 + 60 * k},{50 + k % 3},99,1,{60 + k % 2},5\n" for k in range(20))
        look = look_at(written(tmp_path / "o.csv", lines))
        assert [one.options["columns"] for one in look.readings] == [
            "ts,open,high,low,close,volume",
            "ts,close,high,low,open,volume",
        ]


class TestTwoReadings:
    HEADER = "Time,Open,High,Low,Close,Volume\n"

    def test_day_and_month(self, tmp_path):
        stamps = [f"04.03.2024 09:{30 + k}" for k in range(5)]
        look = look_at(written(tmp_path / "d.csv", self.HEADER + rows(stamps)))
        assert [one.options["ts_format"] for one in look.readings] == ["%d.%m.%Y %H:%M", "%m.%d.%Y %H:%M"]
        first = look.differences[0]
        assert first.line == 2
        assert first.text == "04.03.2024 09:30,10,12,9,11,100"
        assert [meaning.split()[0] for meaning in first.meanings] == [
            "2024-03-04T09:30:00Z",
            "2024-04-03T09:30:00Z",
        ]

    def test_a_day_above_twelve_at_the_end_of_a_long_file_tells(self, tmp_path):
        """The start, some hours of one day, leaves it open."""
        text = self.HEADER + rows(
            [f"{4 + k // 1440:02d}.03.2024 {k // 60 % 24:02d}:{k % 60:02d}" for k in range(15_000)]
        )
        assert len(text) > HEAD + TAIL
        look = look_at(written(tmp_path / "d.csv", text))
        assert only(look)["ts_format"] == "%d.%m.%Y %H:%M"

    def test_a_year_of_two_digits(self, tmp_path):
        stamps = [f"04.03.05 09:{30 + k}" for k in range(5)]
        look = look_at(written(tmp_path / "d.csv", self.HEADER + rows(stamps)))
        assert [one.options["ts_format"] for one in look.readings] == [
            "%d.%m.%y %H:%M",
            "%m.%d.%y %H:%M",
            "%y.%m.%d %H:%M",
        ]

    def test_the_unit_follows_from_the_timeframe_that_it_gives_not_by_its_size(self, tmp_path):
        path = written(
            tmp_path / "u.csv", self.HEADER + rows([1_709_564_400_000_000 + 60_000_000 * k for k in range(9)])
        )
        assert only(look_at(path)) == {"unit": "us"}
        # Days of seconds: 1970 in milliseconds would be bars of 86.4 seconds, which no timeframe is.
        path = written(tmp_path / "u.csv", self.HEADER + rows([86_400 * k for k in range(100, 109)]))
        assert only(look_at(path)) == {"unit": "s"}

    def test_a_comma_before_three_digits(self, tmp_path):
        lines = "".join(
            f"2024-03-{4 + k:02d};1,{100 + k};1,{300 + k};1,{50 + k:03d};1,{200 + k};5\n" for k in range(9)
        )
        look = look_at(written(tmp_path / "c.csv", self.HEADER.replace(",", ";") + lines))
        assert [{k: v for k, v in one.options.items() if k != "separator"} for one in look.readings] == [
            {"thousands": ","},
            {"decimal": ","},
        ]

    def test_a_zone_is_never_guessed(self):
        look = look_at(SOURCES / "histdata.csv")
        assert "tz" not in only(look)
        assert "the stamps name no zone and were read as UTC" in text_of(look)
        assert "--tz" in text_of(look) or "label=close" in text_of(look)


class TestSeries:
    def test_a_timeframe_that_is_not_the_files_is_named(self):
        look = look_at(SOURCES / "tradingview-unix.csv", series="ohlcv:x:BTC:1h")
        assert "the series is of 1h bars, and the rows are 4h apart" in text_of(look)
        assert "--series ohlcv:x:BTC:1h" in look.commands()[0]

    def test_of_many_symbols_that_of_the_series_is_read(self):
        assert only(look_at(SOURCES / "polygon-flat.csv", series="ohlcv:x:AA:1m"))["where"] == "ticker=AA"
        look = look_at(SOURCES / "polygon-flat.csv")
        assert only(look)["where"] == "ticker=A"
        assert "A, AA" in text_of(look)

    def test_what_is_given_stays(self):
        look = look_at(SOURCES / "dukascopy-gmt.csv", tz="Europe/Zurich", ts_format="%d.%m.%Y %H:%M:%S.%f")
        assert only(look) == {
            "columns": "ts=Gmt time",
            "ts_format": "%d.%m.%Y %H:%M:%S.%f",
            "tz": "Europe/Zurich",
        }


class TestWhatIsNoTable:
    @pytest.mark.parametrize(
        ("content", "what", "then"),
        [
            (b"<!DOCTYPE html><title>429 Too Many</title>", "a web page (HTML): '429 Too Many'", "browser"),
            (
                b'{"Information": "25 requests per day"}',
                "Information: 25 requests per day",
                "fetch the file again",
            ),
            (b"%PDF-1.7\n%\xe2\xe3", "a PDF document", "CSV"),
            (b"\x89PNG\r\n\x1a\n", "a picture (PNG)", "export"),
            (b"SQLite format 3\0", "a SQLite database", "sqlite3"),
            (b"", "an empty file", "export"),
            (b"\0\1\2\3" * 50, "no text", "CSV or Parquet"),
        ],
    )
    def test_it_is_shown_as_what_it_is(self, content, what, then, tmp_path):
        look = look_at(written(tmp_path / "bars.csv", content))
        assert what in look.what
        assert then in (look.next_step or "")
        assert not look.readings

    def test_a_workbook(self, tmp_path):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr("xl/workbook.xml", "<workbook/>")
        look = look_at(written(tmp_path / "bars.xlsx", buffer.getvalue()))
        assert look.what == "an Excel workbook (.xlsx)"
        assert "save its sheet as CSV" in text_of(look)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(InvalidRequestError, match="it is not there"):
            look_at(tmp_path / "nothing.csv")

    def test_prices_that_are_missing_are_named(self, tmp_path):
        text = "date,price,a,b,c\n2024-03-04,1,2,3,4\n2024-03-05,1,2,3,4\n"
        look = look_at(written(tmp_path / "c.csv", text))
        assert look.refusal is not None
        assert "no column is seen for open, high, low" in look.refusal.error.what

    def test_commas_that_are_decimal_marks_and_separators(self, tmp_path):
        lines = "".join(f"2024-03-{4 + k:02d},1234,50,1237,63,1233,48,1236,09,8118\n" for k in range(5))
        look = look_at(written(tmp_path / "c.csv", "Date,Open,High,Low,Close,Volume\n" + lines))
        assert look.refusal is not None
        assert "the rows have 10 fields, and the line above them names 6" in look.refusal.error.what


class TestBytes:
    def test_control_characters_are_visible(self, tmp_path):
        look = look_at(written(tmp_path / "t.csv", "a\tb\u00a0\x1b\n"))
        assert look.first == ((1, "a→b\\xa0\\x1b"),)

    @pytest.mark.skipif(
        sys.platform != "linux", reason="the kernel counts what a process reads on Linux alone"
    )
    def test_of_ten_gigabytes_only_the_ends_are_read(self, tmp_path):
        """A sparse file: its start and its end are real, and what lies between is never looked at."""
        start = "Time,Open,High,Low,Close,Volume\n" + rows([1_709_564_400 + 60 * k for k in range(9_000)])
        end = "\n" + rows([1_899_564_420 + 60 * k for k in range(2_000)])
        path = written(tmp_path / "big.csv", start)
        with path.open("r+b") as stream:
            stream.truncate(10_000_000_000)
            stream.seek(10_000_000_000 - len(end))
            stream.write(end.encode())
        look_at(SOURCES / "binance-futures.csv")  # what is imported at first use is no part of it
        before = bytes_read()
        look = look_at(path)
        assert only(look) == {"unit": "s"}
        assert look.size == 10_000_000_000
        # A sample, and the small files of trials that are read again: less than a hundredth of the file.
        assert bytes_read() - before < 200 * (HEAD + TAIL)

    def test_an_end_that_is_written_otherwise_is_named(self, tmp_path):
        text = "Time,Open,High,Low,Close,Volume\n" + rows(
            [1_709_564_400_000 + 60_000 * k for k in range(9_000)]
        )
        text += rows([1_735_689_600_000_000 + 60_000_000 * k for k in range(3_000)])
        look = look_at(written(tmp_path / "joined.csv", text))
        assert look.refusal is not None
        assert "the end of the file is not written like its start" in look.refusal.error.what

    def test_a_long_json_document_is_understood_by_its_start(self, tmp_path):
        klines = [[1_709_564_400_000 + 60_000 * k, 10 + k, 12 + k, 9 + k, 11 + k, 5] for k in range(20_000)]
        path = written(tmp_path / "k.json", json.dumps({"s": "ok", "data": {"bars": klines}}))
        assert path.stat().st_size > HEAD
        assert only(look_at(path))["unit"] == "ms"

    def test_packed_files(self, tmp_path):
        plain = (SOURCES / "binance-futures.csv").read_bytes()
        packed = written(tmp_path / "b.csv.gz", gzip.compress(plain))
        assert only(look_at(packed)) == {"unit": "ms"}
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr("BTC.csv", plain)
            archive.writestr("ETH.csv", plain)
        look = look_at(tmp_path / "b.zip")
        assert only(look) == {"table": "BTC.csv", "unit": "ms"}
        assert "ETH.csv" in text_of(look)

    def test_parquet(self, tmp_path):
        frame = pl.DataFrame({"when": minutes(9), "o": 10.0, "h": 12.0, "l": 9.0, "c": 11.0, "v": 5.0})
        frame.with_columns(pl.col("when").cast(pl.Datetime("ns", "UTC"))).write_parquet(
            tmp_path / "f.parquet"
        )
        options = only(look_at(tmp_path / "f.parquet"))
        assert options == {"columns": "ts=when,open=o,high=h,low=l,close=c,volume=v"}

    @given(content=st.binary(max_size=400))
    def test_no_bytes_are_too_odd_to_look_at(self, content, tmp_path_factory):
        look = look_at(written(tmp_path_factory.mktemp("odd") / "odd.csv", content))
        assert text_of(look)
        json.dumps(look.to_json())


def bytes_read() -> int:
    """What this process has read so far, by the kernel's count."""
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["rchar"])


def test_the_short_form_has_lines_columns_and_the_command():
    shown = short_text_of(look_at(SOURCES / "barchart.csv", series="ohlcv:x:A:1d")).splitlines()
    assert shown[1].endswith("Time,Open,High,Low,Latest,Change,%Change,Volume")
    assert "columns    ts=Time, open=Open, high=High, low=Low, close=Latest, volume=Volume" in shown
    assert shown[-1].endswith("--series ohlcv:x:A:1d --skip-foot 1 --columns close=Latest")


def test_of_a_folder_the_first_file_is_looked_at(tmp_path):
    for name in ("b.csv", "a.csv"):
        written(tmp_path / name, (SOURCES / "binance-futures.csv").read_bytes())
    look = look_at(tmp_path)
    assert look.name == str(tmp_path / "a.csv")
    assert "the first of 2 files was looked at" in text_of(look)
    assert f"qmtl import {tmp_path} --series" in look.commands()[0]


DAILY = "".join(f"2024-01-{day:02d},10,11,9,10,500\n" for day in range(1, 10))


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize("days", [5, 20_000])
    def test_wide_characters_are_named(self, tmp_path: Path, encoding: str, mark: str, days: int) -> None:
        lines = rows(
            [f"{1900 + day // 336}-{day // 28 % 12 + 1:02d}-{day % 28 + 1:02d}" for day in range(days)]
        )
        path = written(tmp_path / "x.csv", f"{mark}date,open,high,low,close,volume\n{lines}".encode(encoding))
        look = look_at(path)
        name = encoding[:6].upper()
        assert dict(look.facts)["encoding"] == f"{name} {'with' if mark else 'without'} a mark"
        assert only(look).get("encoding") == (None if mark else encoding)
        assert not look.cautions

    @pytest.mark.parametrize(
        ("encoding", "header", "meaning"),
        [
            ("gbk", "日期,开盘,最高,最低,收盘,成交量", "gb18030 '日期'"),
            ("shift_jis", "日付,始値,高値,安値,終値,出来高", "shift_jis '日付'"),
            ("cp1252", "Datum,Eröffnung,Hoch,Tief,Schluss,Stück", "cp1252 or cp1250 'Eröffnung'"),
            ("cp1251", "Дата,Открытие,Максимум,Минимум,Закрытие,Объём", "cp1251 'Дата'"),
        ],
    )
    def test_bytes_that_fit_several_encodings_name_none(
        self, tmp_path: Path, encoding: str, header: str, meaning: str
    ) -> None:
        path = written(tmp_path / "x.csv", f"{header}\n{DAILY}".encode(encoding))
        look = look_at(path)
        (caution,) = [one for one in look.cautions if "encoding" in one]
        assert caution.startswith("the bytes do not tell the encoding: in ")
        assert meaning in caution
        assert "`encoding=` names the one that is meant" in caution
        declared = look_at(path, encoding=encoding)
        assert not [one for one in declared.cautions if "encoding" in one]
        assert dict(declared.facts)["encoding"] == f"{only(declared)['encoding']}, as given"
        assert header.split(",")[0] == declared.columns[0].name

    def test_utf_8_leaves_no_doubt(self, tmp_path: Path) -> None:
        header = "date,open,high,low,close,volume,Stück in Ä"
        path = written(tmp_path / "x.csv", f"{header}\n{DAILY.replace('500', '500,1')}".encode("cp1252"))
        assert "the bytes do not tell" in " ".join(look_at(path).cautions)
        path = written(tmp_path / "y.csv", f"{header}\n{DAILY.replace('500', '500,1')}")
        assert not look_at(path).cautions
