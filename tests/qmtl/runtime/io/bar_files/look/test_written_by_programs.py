"""Charts, exchanges and databases, as each writes bars: the line that a look shows reads the right values."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso, to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

# Made-up bars: open, high, low, close, volume.
BARS = [
    (1010.0, 1090.5, 980.0, 1050.0, 21_312),
    (1050.0, 1120.0, 1010.5, 1100.0, 8_400),
    (1100.0, 1110.0, 1020.0, 1040.5, 90_210),
    (1040.5, 1080.0, 990.0, 1010.0, 6_000),
]
EACH = list(enumerate(BARS))
MINUTE = "2024-03-04T14:30:00Z"
DAY = "2024-03-12"


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def grouped(bar: tuple[float, ...], mark: str, decimal: str) -> list[str]:
    """Numbers with a mark between thousands, the volume without a fraction."""
    texts = [*(f"{value:,.2f}" for value in bar[:4]), f"{bar[4]:,}"]
    return [text.translate({ord(","): mark, ord("."): decimal}) for text in texts]


PROREALTIME = lines(
    "Date\tHeure\tOuv.\tHaut\tBas\tClôt.\tVol.",
    *("\t".join([f"{12 + k}/03/2024", "00:00", *(str(x).replace(".", ",") for x in b)]) for k, b in EACH),
)
# A volume that is called a number, beside another number that is none.
EURONEXT = lines(
    '"Historical Data"',
    '"From 2024-03-12 to 2024-03-15"',
    '"NL0010273215"',
    'Date;Open;High;Low;Last;Close;"Number of Shares";"Number of Trades";Turnover;vwap',
    *(f"{12 + k}/03/2024;{o};{h};{w};{c};{c};{v};{v // 9};{v * c};{o}" for k, (o, h, w, c, v) in EACH),
)
# Newest first; the column `timestamp` is when the last trade came.
UPBIT = json.dumps(
    [
        {
            "market": "KRW-BTC",
            "candle_date_time_utc": f"2024-03-04T14:3{k}:00",
            "candle_date_time_kst": f"2024-03-04T23:3{k}:00",
            "opening_price": o,
            "high_price": h,
            "low_price": low,
            "trade_price": c,
            "timestamp": to_ns(MINUTE) // 10**6 + 60_000 * k + 59_137,
            "candle_acc_trade_price": c * v,
            "candle_acc_trade_volume": v,
            "unit": 1,
        }
        for k, (o, h, low, c, v) in EACH[::-1]
    ]
)
PSQL = lines(
    " time                   |   open |   high |    low |  close | volume ",
    "------------------------+--------+--------+--------+--------+--------",
    *(
        f" 2024-03-04 14:3{k}:00+00 | {o:6} | {h:6} | {low:6} | {c:6} | {v:6} "
        for k, (o, h, low, c, v) in EACH
    ),
    "(4 rows)",
)
POLISH_EXCEL = lines(
    "Data;Otwarcie;Najwyższy;Najniższy;Zamknięcie;Wolumen",
    *(";".join([f"2024-03-{12 + k}", *grouped(bar, "\u00a0", ",")]) for k, bar in EACH),
)
SWISS = lines(
    "Datum;Eröffnung;Höchst;Tiefst;Schluss;Volumen",
    *(";".join([f"{12 + k}.03.2024", *grouped(bar, "'", ".")]) for k, bar in EACH),
)
INFLUX = lines(
    "#group,false,false,false,false,false,false,false,false",
    "#datatype,string,long,dateTime:RFC3339,double,double,double,double,double",
    "#default,_result,,,,,,,",
    ",result,table,_time,close,high,low,open,volume",
    *(f",,0,2024-03-04T14:3{k}:00Z,{c},{h},{low},{o},{v}" for k, (o, h, low, c, v) in EACH),
)
KITE = json.dumps(
    {"status": "success", "data": {"candles": [[f"2024-03-04T20:0{k}:00+0530", *bar, 0] for k, bar in EACH]}}
)


@pytest.mark.parametrize(
    ("name", "content", "timeframe", "first"),
    [
        ("euronext.csv", EURONEXT, "1d", DAY),
        ("upbit.json", UPBIT, "1m", MINUTE),
        ("psql.txt", PSQL, "1m", MINUTE),
        ("polish-excel.csv", POLISH_EXCEL, "1d", DAY),
        ("swiss.csv", SWISS, "1d", DAY),
        ("influx.csv", INFLUX, "1m", MINUTE),
        ("kite.json", KITE, "1m", MINUTE),
        ("prorealtime.txt", PROREALTIME, "1d", DAY),
    ],
)
def test_the_only_line_that_is_shown_reads_the_file(name, content, timeframe, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content, encoding="utf-8")
    (reading,) = json.loads(run("--json", "import", name, "--look"))["readings"]
    assert f"ohlcv:VENUE:SYMBOL:{timeframe}" in reading["command"]
    run(*shlex.split(reading["command"].replace("ohlcv:VENUE:SYMBOL", "ohlcv:mine:X"))[1:])
    with EmbeddedStore("bars") as store:
        series = SeriesId.parse(f"ohlcv:mine:X:{timeframe}")
        bars = store.read(series, Span(to_ns("1970-01-01"), to_ns("2030-01-01"))).frame
    assert [row[1:] for row in bars.rows()] == [(*bar[:4], float(bar[4])) for bar in BARS]
    assert iso(int(stamps(bars)[0])) == first


def test_a_list_within_a_row_is_named(tmp_path, monkeypatch):
    """As a page gives them to the library that draws its chart."""
    monkeypatch.chdir(tmp_path)
    bars = [[to_ns(MINUTE) // 10**6 + 60_000 * k, *bar[:4]] for k, bar in EACH]
    Path("chart.json").write_text(json.dumps({"series": [{"name": "ohlc", "data": bars}]}))
    found = json.loads(run("--json", "import", "chart.json", "--look", code=2))
    assert found["refused"]["message"] == "column 'data' holds lists"


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--store", "bars", *words])
    assert result.exit_code == code, result.output
    return result.stdout
