"""Bars from files: every format gives the same bars, and what has no certain meaning is refused."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import BAR_SCHEMA, stamps
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.bar_files import BarFile, read_bar_file
from qmtl.runtime.io.bar_files.option_values import parse_columns, parse_scale
from qmtl.runtime.io.bar_files.stamps import shape_of

HEADER = "ts,open,high,low,close,volume\n"
PLAIN = HEADER + (
    "2024-01-01T00:00:00Z,1,3,0.5,2,10\n2024-01-01T00:02:00Z,2,2.5,2,2.25,0\n2024-01-01T00:01:00Z,5,6,4,5,1e3\n"
)
EXPECTED = pl.DataFrame(
    {
        "ts": [to_ns("2024-01-01T00:00Z"), to_ns("2024-01-01T00:02Z"), to_ns("2024-01-01T00:01Z")],
        "open": [1.0, 2.0, 5.0],
        "high": [3.0, 2.5, 6.0],
        "low": [0.5, 2.0, 4.0],
        "close": [2.0, 2.25, 5.0],
        "volume": [10.0, 0.0, 1000.0],
    }
).with_columns(pl.col("ts").cast(BAR_SCHEMA["ts"]))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., BarFile]:
    """Write a text (or bytes) to a file and read it as bars of a minute."""

    def write_and_read(content: str | bytes, name: str = "bars.csv", **options: object) -> BarFile:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_bar_file(path, **{"timeframe": "1m", **options})

    return write_and_read


def refused(read: Callable[..., BarFile], content: str | bytes, *facts: str, **options: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(content, **options)
    for fact in facts:
        assert fact in str(caught.value)
    assert caught.value.next_step


def opens(file: BarFile) -> list[int]:
    return stamps(file.frame).tolist()


class TestFormats:
    def test_csv(self, read):
        file = read(PLAIN)
        assert file.frame.equals(EXPECTED)
        assert file.frame.schema == BAR_SCHEMA
        assert file.lines.tolist() == [2, 3, 4]
        assert file.lines.dtype == np.int64
        assert file.place == "line"
        assert file.notes == ()

    @pytest.mark.parametrize("separator", [";", "\t", ","])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_separators_line_ends_and_byte_order_mark(self, read, separator, end, mark):
        text = mark + PLAIN.replace(",", separator).replace("\n", end)
        assert read(text).frame.equals(EXPECTED)
        assert read(text.rstrip()).frame.equals(EXPECTED), "without an end of the last line"

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_csv_without_a_header(self, read, mark):
        file = read(mark + PLAIN.removeprefix(HEADER), columns="ts,open,high,low,close,volume")
        assert file.frame.equals(EXPECTED)
        assert file.lines.tolist() == [1, 2, 3]

    def test_order_of_a_file_with_a_header_leaves_the_header_out(self, read):
        file = read(PLAIN.replace("ts", ""), columns="ts,open,high,low,close,volume")
        assert file.frame.equals(EXPECTED)
        assert file.notes == ("line 1 is a header and was left out",)

    def test_quotes_and_blanks_around_fields(self, read):
        text = PLAIN.replace("2024-01-01T00:00:00Z,1,3", '"2024-01-01T00:00:00Z", 1,"3"')
        assert read(text).frame.equals(EXPECTED)

    @pytest.mark.parametrize(
        "name", ["bars.parquet", "bars.feather", "bars.arrow", "bars.jsonl", "stream.ipc"]
    )
    @pytest.mark.parametrize("packing", ["", ".gz", ".zip"])
    def test_each_format_plain_and_packed(self, tmp_path, name, packing):
        path = tmp_path / name
        if name.endswith("parquet"):
            EXPECTED.write_parquet(path)
        elif name.endswith("jsonl"):
            rows = EXPECTED.with_columns(pl.col("ts").dt.to_string("%Y-%m-%d %H:%M:%S%:z")).to_dicts()
            path.write_text("\n".join(map(json.dumps, rows)))
        elif name == "stream.ipc":
            EXPECTED.write_ipc_stream(path)
        else:
            EXPECTED.write_ipc(path, compression="lz4")
        if packing == ".gz":
            with gzip.open(f"{path}.gz", "wb") as packed:
                packed.write(path.read_bytes())
        elif packing == ".zip":
            with zipfile.ZipFile(f"{path}.zip", "w") as archive:
                archive.write(path, f"folder/{name}")
        file = read_bar_file(f"{path}{packing}", timeframe="1m")
        assert file.frame.equals(EXPECTED)
        assert file.lines.tolist() == [1, 2, 3]
        assert file.place == ("line" if name.endswith("jsonl") else "row")

    def test_csv_packed(self, tmp_path):
        with gzip.open(tmp_path / "bars.csv.gz", "wt") as packed:
            packed.write(PLAIN)
        assert read_bar_file(tmp_path / "bars.csv.gz", timeframe="1m").frame.equals(EXPECTED)

    def test_json_lines_with_blank_lines_and_missing_values(self, read):
        rows = [json.dumps(row) for row in EXPECTED.with_columns(pl.col("ts").cast(pl.Int64)).to_dicts()]
        rows[1] = rows[1].replace('"close": 2.25, ', "")
        file = read("\n\n".join(rows), name="bars.ndjson", unit="ns")
        assert file.lines.tolist() == [1, 3, 5]
        assert file.frame["close"].to_list() == [2.0, None, 5.0]

    def test_blank_lines_are_no_rows_and_are_counted(self, read):
        lines = PLAIN.splitlines()
        file = read("\n".join([lines[0], "", *lines[1:3], "", lines[3], "", ""]))
        assert file.frame.equals(EXPECTED)
        assert file.lines.tolist() == [3, 4, 6]

    def test_values_that_are_missing_or_no_numbers_of_this_world_are_left_to_the_rules(self, read):
        file = read(PLAIN.replace("1,3,0.5", "NaN,inf,-1").replace("5,6,4", ",6,-inf"))
        assert np.isnan(file.frame["open"][0])
        assert file.frame["high"][0] == np.inf
        assert file.frame["low"].to_list() == [-1.0, 2.0, -np.inf]
        assert file.frame["open"][2] is None

    def test_ten_columns_of_which_six_are_wanted(self, read):
        text = "x,Time,Open,High,Low,Close,Adj Close,Volume,y\n1,2024-01-01 00:00,1,3,0.5,2,7,10,\n"
        assert read(text).frame.equals(EXPECTED.head(1))

    def test_a_million_lines(self, tmp_path):
        n = 1_000_000
        start = to_ns("2020-01-01")
        ts = pl.Series(np.arange(start, start + n * MINUTE, MINUTE)).cast(BAR_SCHEMA["ts"])
        price = np.round(100 + np.sin(np.arange(n) / 1000), 2)
        frame = pl.DataFrame(
            {"ts": ts, **dict.fromkeys(("open", "high", "low", "close"), price), "volume": price}
        )
        frame.write_csv(tmp_path / "many.csv", datetime_format="%Y-%m-%d %H:%M:%S%:z")
        file = read_bar_file(tmp_path / "many.csv", timeframe="1m")
        assert file.frame.equals(frame)
        assert file.lines[-1] == n + 1

    @pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "jsonl"])
    def test_a_name_is_no_pattern(self, tmp_path, suffix):
        """`a[1].csv` names itself, and not `a1.csv`."""
        path, other = tmp_path / f"a[1]*.{suffix}", tmp_path / f"a1x.{suffix}"
        text = EXPECTED.with_columns(pl.col("ts").dt.to_string("%Y-%m-%d %H:%M:%SZ"))
        for target, frame in ((path, text), (other, text.head(1))):
            {
                "csv": frame.write_csv,
                "parquet": frame.write_parquet,
                "feather": frame.write_ipc,
                "jsonl": frame.write_ndjson,
            }[suffix](target)
        assert read_bar_file(path, timeframe="1m").frame.equals(EXPECTED)


class TestColumns:
    def test_usual_names_whatever_their_case(self, read):
        for name in ("Timestamp", "time", "DATE", "datetime", "Open Time", "open_time", "Date Time"):
            assert read(PLAIN.replace("ts,open", f"{name}, OPEN")).frame.equals(EXPECTED)

    def test_named(self, read):
        text = PLAIN.replace("ts,open", "when,first")
        assert read(text, columns="ts=when,open=first").frame.equals(EXPECTED)
        assert read(text, columns={"ts": "WHEN", "open": "first"}).frame.equals(EXPECTED)

    @pytest.mark.parametrize(
        "columns", ["ts,open,high,low,close,volume=", "ts,open,high,low,close,,volume=", "volume="]
    )
    def test_no_volume(self, read, columns):
        text = PLAIN if columns == "volume=" else PLAIN.removeprefix(HEADER)
        file = read(text, columns=columns)
        assert file.frame["volume"].null_count() == 3
        assert not file.has_volume
        assert file.frame.drop("volume").equals(EXPECTED.drop("volume"))

    def test_columns_behind_the_order_are_noted(self, read):
        file = read("2024-01-01 00:00,1,3,0.5,2,10,8,9\n", columns="ts,open,high,low,close,volume")
        assert file.frame.equals(EXPECTED.head(1))
        assert "2 columns are not used: column 7, column 8" in file.notes

    def test_refusals(self, read):
        refused(
            read, PLAIN.replace("close", "last"), "no columns for 'close'", "'last'", "`columns='close=NAME'`"
        )
        refused(read, PLAIN.replace("volume", "turnover"), "'volume'", "`columns='volume='`")
        refused(read, PLAIN.replace("volume", "date"), "2 columns for 'ts'", "'ts', 'date'", "`columns=")
        refused(read, PLAIN, "asks for 'when'", columns="ts=when")
        refused(read, PLAIN.removeprefix(HEADER), "has no header", "`columns='ts,open")
        refused(read, PLAIN, "7 columns are named", columns="ts,open,high,low,close,volume,")

    @pytest.mark.parametrize(
        ("columns", "fact"),
        [
            ("ts=a,price=b", "'price' is not one of"),
            ("ts=a,ts=b", "named twice"),
            ("ts=", "names no column"),
            ("ts,open,high,low,close", "volume="),
            ("ts,open=b", "mixed"),
            ("ts,open,,,", "high, low, close, volume"),
        ],
    )
    def test_columns_that_cannot_be_used(self, columns, fact):
        with pytest.raises(InvalidRequestError, match=fact):
            parse_columns(columns)


class TestStamps:
    @pytest.mark.parametrize(
        "text",
        [
            "2013-08-22 13:30:00",
            "2013-08-22T13:30",
            "2013-08-22T13:30:00.000",
            "2013-08-22 13:30:00+00:00",
            "2013-08-22 09:30:00-04:00",
            "2013-08-22T09:30:00.000000-0400",
            "2013-08-22T13:30:00Z",
            "2013-08-22 13:30:00 UTC",
            "2013/08/22 13:30",
            "2013.08.22 13:30",
            "20130822 13:30",
            "20130822 133000",
            "20130822T13:30:00Z",
            "2013-8-22 13:30",
        ],
    )
    def test_shapes(self, read, text):
        assert opens(read(f"{HEADER}{text},1,1,1,1,1\n")) == [to_ns("2013-08-22T13:30Z")]

    def test_fractions_of_any_length_stand_together(self, read):
        text = "".join(f"2013-08-22 13:30:0{s},1,1,1,1,1\n" for s in ("0", "1.5", "2.000000001"))
        start = to_ns("2013-08-22T13:30Z")
        assert opens(read(HEADER + text)) == [start, start + 1_500_000_000, start + 2_000_000_001]

    @pytest.mark.parametrize(
        "text", ["01/02/2024 00:00", "20240101", "2024-01-01Z", "noon", "1.7e9", "12:00"]
    )
    def test_what_has_no_certain_shape(self, text):
        assert shape_of(text) is None

    def test_day_and_month_are_not_guessed(self, read):
        refused(read, f"{HEADER}01/02/2024 00:00,1,1,1,1,1\n", "'01/02/2024 00:00'", "day and month")

    @pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
    def test_units(self, read, unit, per_second):
        text = f"{HEADER}{1704067200 * per_second},1,1,1,1,1\n"
        assert opens(read(text, unit=unit)) == [to_ns("2024-01-01")]
        refused(read, text, "integers", "`unit=`")
        refused(read, text, "no other zone", unit=unit, tz="Asia/Tokyo")

    def test_an_instant_that_nanoseconds_cannot_reach(self, read):
        refused(read, f"{HEADER}1704067200000,1,1,1,1,1\n", "line 2", "'1704067200000'", unit="s")
        refused(read, f"{HEADER}9999-01-01 00:00:00,1,1,1,1,1\n", "line 2", "1678 and 2261")
        refused(read, f"{HEADER}1600-01-01 00:00:00,1,1,1,1,1\n", "line 2", "1678 and 2261")

    def test_typed_stamps(self, tmp_path):
        path = tmp_path / "bars.parquet"
        for unit in ("ms", "us", "ns"):
            EXPECTED.with_columns(pl.col("ts").cast(pl.Datetime(unit, "UTC"))).write_parquet(path)
            assert read_bar_file(path, timeframe="1m").frame.equals(EXPECTED)
        EXPECTED.with_columns(pl.col("ts").dt.convert_time_zone("Asia/Tokyo")).write_parquet(path)
        assert read_bar_file(path, timeframe="1m", tz="America/New_York").frame.equals(EXPECTED)
        tokyo = pl.col("ts").dt.convert_time_zone("Asia/Tokyo").dt.replace_time_zone(None)
        EXPECTED.with_columns(tokyo).write_parquet(path)
        assert read_bar_file(path, timeframe="1m", tz="Asia/Tokyo").frame.equals(EXPECTED)
        EXPECTED.with_columns(pl.col("ts").to_physical()).write_parquet(path)
        assert read_bar_file(path, timeframe="1m", unit="ns").frame.equals(EXPECTED)
        far = pl.lit(10**15, dtype=pl.Int64).cast(pl.Datetime("ms"))
        EXPECTED.with_columns(far.alias("ts")).write_parquet(path)
        with pytest.raises(InvalidRequestError, match="row 1"):
            read_bar_file(path, timeframe="1m")
        EXPECTED.with_columns(pl.lit(1.5).alias("ts")).write_parquet(path)
        with pytest.raises(InvalidRequestError, match="`unit=`"):
            read_bar_file(path, timeframe="1m")

    def test_naive_is_utc_and_noted(self, read):
        file = read(PLAIN.replace("Z", ""))
        assert file.frame.equals(EXPECTED)
        assert file.notes == ("the stamps name no zone and were read as UTC",)

    def test_naive_and_zoned_are_not_mixed(self, read):
        refused(read, PLAIN.replace("02:00Z", "02:00"), "line 3", "has no zone", "mixed")
        refused(read, PLAIN.replace("Z", "", 1), "line 3", "has a zone", "mixed")

    def test_local_time_follows_the_clock(self, read):
        text = HEADER + "".join(
            f"2024-{day} 12:00,1,1,1,1,1\n" for day in ("03-09", "03-10", "11-02", "11-03")
        )
        file = read(text, tz="America/New_York")
        assert opens(file) == [
            to_ns(f"2024-{t}Z") for t in ("03-09T17:00", "03-10T16:00", "11-02T16:00", "11-03T17:00")
        ]

    def test_local_time_that_a_change_of_clocks_skips_or_repeats(self, read):
        text = HEADER + "".join(
            f"2024-{t},1,1,1,1,1\n" for t in ("03-10 01:30", "03-10 02:30", "11-03 01:30")
        )
        refused(read, text, "line 3", "'2024-03-10 02:30'", "lines concerned: 3, 4", tz="America/New_York")
        refused(read, text.replace("03-10 01:30", "13-10 01:30"), "line 2", "'2024-13-10 01:30'")

    def test_dates_are_sessions(self, read):
        text = HEADER + "2024-03-08,1,1,1,1,1\n2024-03-11,1,1,1,1,1\n"
        expected = [to_ns("2024-03-08"), to_ns("2024-03-11")]
        assert opens(read(text, timeframe="1d")) == expected
        file = read(text, timeframe="1d", tz="America/New_York")
        assert opens(file) == expected
        assert "dates" in file.notes[0]

    def test_close_labels(self, read):
        assert opens(read(PLAIN, label="close")) == [ts - MINUTE for ts in stamps(EXPECTED)]
        refused(read, PLAIN, "'middle'", label="middle")

    @pytest.mark.parametrize("tz", ["Mars/Base", "../etc/passwd", ""])
    def test_unknown_zone(self, read, tz):
        refused(read, PLAIN, "is not known", tz=tz)


class TestScale:
    def test_prices_are_rounded_once(self, read):
        text = HEADER + "20130822 09:00,5028900,5070000,133333,1,7\n"
        frame = read(text, scale="open,high,low,close=0.0001").frame
        assert frame.row(0)[1:] == (502.89, 507.0, 13.3333, 0.0001, 7.0)

    def test_several_factors(self):
        factors = parse_scale("open,close=0.01,volume=100")
        assert {name: float(factor) for name, factor in factors.items()} == {
            "open": 0.01,
            "close": 0.01,
            "volume": 100,
        }

    BEYOND_A_FLOAT64 = (
        "close=1e400",
        "close=1e-400",
        "close=1e-320",
        "close=1e999999999",
        "close=inf",
        f"close=1{400 * '0'}/3",
    )

    @pytest.mark.parametrize(
        "scale", ["open", "price=2", "open=x", "open=0", "open=-1", "open=1/0", "open=nan", *BEYOND_A_FLOAT64]
    )
    def test_what_is_no_scale(self, scale):
        with pytest.raises(InvalidRequestError):
            parse_scale(scale)


class TestRefusals:
    def test_text_in_numbers_names_line_and_column(self, read):
        text = PLAIN.replace("2.25", "n/a").replace("1e3", "many")
        refused(
            read, text, "bars.csv, line 3, column 'close': 'n/a' is not a number", "lines concerned: 3, 4"
        )
        refused(read, PLAIN.replace(",", ";").replace("2.25", "2,25"), "line 3", "decimal comma")

    def test_text_in_numbers_of_tables(self, tmp_path):
        text = pl.col("close").cast(pl.String).replace("2.25", "n/a")
        EXPECTED.with_columns(text).write_parquet(tmp_path / "bars.parquet")
        with pytest.raises(InvalidRequestError, match=r"row 2, column 'close': 'n/a'"):
            read_bar_file(tmp_path / "bars.parquet", timeframe="1m")
        EXPECTED.with_columns(close=pl.lit(True)).write_parquet(tmp_path / "bars.parquet")
        with pytest.raises(InvalidRequestError, match="Boolean"):
            read_bar_file(tmp_path / "bars.parquet", timeframe="1m")

    def test_ragged_lines(self, read):
        refused(read, PLAIN + "2024-01-01T00:03:00Z,1,1,1,1\n", "line 5", "5 fields", "6")
        refused(read, PLAIN + "2024-01-01T00:03:00Z,1,1,1,1,1,1\n", "line 5", "7 fields")
        refused(read, PLAIN + "2024-01-01T0", "line 5", "1 field", "cut short")
        refused(read, PLAIN + ",,,,,\n", "line 5", "empty")
        refused(read, PLAIN + "   \n", "line 5", "1 field")
        refused(read, PLAIN + '2024-01-01T00:03:00Z,1,1,1,1,"1\n"\n', "line 5", "runs on to line 6")

    def test_a_lack_is_not_hidden_by_a_quoted_separator(self, read):
        text = "ts,open,high,low,close,volume,note\n"
        text += '2024-01-01T00:00:00Z,1,1,1,1,1,"a,b"\n'
        assert read(text).frame.height == 1
        refused(read, text + "2024-01-01T00:01:00Z,1,1,1,1,1\n", "line 3", "6 fields")

    def test_a_missing_stamp(self, read):
        refused(read, PLAIN + ",1,1,1,1,1\n", "line 5, column 'ts': there is no stamp")

    def test_empty(self, read):
        refused(read, "", "is empty")
        refused(read, "\ufeff\n\n", "is empty")
        refused(read, HEADER, "no bars")
        refused(read, "\n\n", "is empty")
        refused(read, "[]", "no bars", name="bars.json")
        refused(read, "", "is empty", name="bars.parquet")

    def test_encodings(self, read):
        assert read(PLAIN.encode("utf-16")).frame.equals(EXPECTED)
        assert read(PLAIN.encode("utf-32")).frame.equals(EXPECTED)
        assert read(f"\ufeff{PLAIN}".encode("utf-32-be")).frame.equals(EXPECTED)
        assert read(PLAIN.encode("utf-32-be"), encoding="utf-32-be").frame.equals(EXPECTED)
        refused(read, PLAIN.encode("utf-32"), "is not utf-16", "is utf-32", encoding="utf-16")
        refused(read, "[]".encode("utf-32"), "is not UTF-8", "iconv -f utf-32 -t UTF-8", name="bars.json")
        refused(read, PLAIN.encode() + b"2024-01-01T00:03:00Z,1,1,1,1,\xff\n", "line 5", "not UTF-8")
        refused(read, b"\xe4" + PLAIN.encode(), "line 1", "not UTF-8")

    def test_formats(self, read, tmp_path):
        refused(read, PLAIN, "'.xls' is not known", ".parquet", name="bars.xls")
        refused(read, b"PAR1xxxx", "is not text")
        refused(read, b"PAR1xxxx", "Parquet", name="bars.parquet")
        refused(read, b"FEA1xxxx", "version 1", name="bars.feather")
        refused(read, "one two\n", "no separator")
        refused(read, '{"ts": 1}\n{"ts": 1, "open"\n', "line 2", "not a JSON object", name="bars.jsonl")
        refused(read, '{"ts": 1}\n{"ts": NaN}\n', "line 2", "NaN is not JSON", name="bars.jsonl")
        refused(read, PLAIN, "cannot be unpacked", name="bars.csv.gz")
        refused(read, gzip.compress(PLAIN.encode())[:-12], "cannot be unpacked", name="bars.csv.gz")
        refused(read, PLAIN, "cannot be unpacked", name="bars.zip")
        with pytest.raises(InvalidRequestError, match="no such file"):
            read_bar_file(tmp_path / "none.csv", timeframe="1m")
        with pytest.raises(InvalidRequestError, match="directory"):
            read_bar_file(tmp_path, timeframe="1m")

    def test_a_zip_holds_one_file(self, tmp_path):
        path = tmp_path / "bars.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", PLAIN)
            archive.writestr("b.csv", PLAIN)
        with pytest.raises(InvalidRequestError, match="holds 2 files") as caught:
            read_bar_file(path, timeframe="1m")
        assert "a.csv, b.csv" in str(caught.value)

    def test_unknown_option(self, read):
        refused(read, PLAIN, "colour", colour="red")


@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet", "bars.arrow", "bars.jsonl"])
def test_progress_counts_rows_up_to_all_of_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = pl.concat([EXPECTED] * 50_000)
    lines = frame.with_columns(pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
    {
        ".csv": lambda: lines.write_csv(path),
        ".parquet": lambda: frame.write_parquet(path),
        ".arrow": lambda: frame.write_ipc(path),
        ".jsonl": lambda: lines.write_ndjson(path),
    }[path.suffix]()
    reported: list[tuple[int, int]] = []
    file = read_bar_file(path, timeframe="1m", on_progress=lambda done, total: reported.append((done, total)))
    assert file.frame.equals(frame)
    assert file.frame.n_chunks() == 1
    assert reported == sorted(reported)
    assert {total for _, total in reported} == {150_000}
    assert reported[-1][0] == 150_000


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_reported(read: Callable[..., BarFile], encoding: str) -> None:
    refused(read, PLAIN.encode(encoding), "line 1", "zero bytes", f"`encoding={encoding}`")


def test_a_header_in_the_middle_is_reported(read: Callable[..., BarFile]) -> None:
    refused(read, PLAIN + PLAIN, "line 5", "the header is repeated")


def test_commas_in_numbers_are_reported(read: Callable[..., BarFile]) -> None:
    refused(read, HEADER + '2024-01-01T00:00:00Z,"1,000",3,1,2,1\n', "'1,000'", "thousands")


def test_the_shadows_of_macos_are_no_files_of_bars(tmp_path: Path) -> None:
    path = tmp_path / "bars.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bars.csv", PLAIN)
        archive.writestr("__MACOSX/._bars.csv", b"\0\5\26\7")
    assert read_bar_file(path, timeframe="1m").frame.equals(EXPECTED)
