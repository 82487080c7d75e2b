"""Sources that no page names, tried as a new user would: the first line that a look shows is typed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

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
    (10.0, 10.9, 9.8, 10.5, 70),
    (10.5, 11.2, 10.1, 11.0, 80),
    (11.0, 11.1, 10.2, 10.4, 90),
    (10.4, 10.8, 9.9, 10.1, 60),
]
EPOCH = to_ns("2024-03-04T14:30Z") // 10**9
DAYS = ("2024-03-12", "2024-03-13", "2024-03-14", "2024-03-15")
MINUTES = [f"2024-03-04T14:3{k}:00Z" for k in range(4)]


def lines(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows]) + "\n"


TIINGO = lines(
    "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor",
    [
        f"{d},{c},{h},{low},{o},{v},{c},{h},{low},{o},{v},0.0,1.0"
        for d, (o, h, low, c, v) in zip(DAYS, BARS, strict=True)
    ],
)
ALPACA = json.dumps(
    {
        "bars": [
            {"c": c, "h": h, "l": low, "n": 7, "o": o, "t": t, "v": v, "vw": c}
            for t, (o, h, low, c, v) in zip(MINUTES, BARS, strict=True)
        ],
        "next_page_token": None,
        "symbol": "AAPL",
    }
)
# time, low, high, open, close, volume; newest first
COINBASE = json.dumps([[EPOCH + 60 * k, low, h, o, c, v] for k, (o, h, low, c, v) in enumerate(BARS)][::-1])
# milliseconds, open, close, high, low, volume; newest first
BITFINEX = json.dumps(
    [[(EPOCH + 60 * k) * 1000, o, c, h, low, v] for k, (o, h, low, c, v) in enumerate(BARS)][::-1]
)
COINGECKO = json.dumps(
    [[(EPOCH - 9000 + 14400 * k) * 1000, o, h, low, c] for k, (o, h, low, c, _) in enumerate(BARS)]
)
BLOOMBERG = "Security,AAPL US Equity\nStart Date,3/12/2024\nEnd Date,3/15/2024\n\n" + lines(
    "Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME",
    [f"3/{d[-2:]}/2024,{o},{h},{low},{c},{v}" for d, (o, h, low, c, v) in zip(DAYS, BARS, strict=True)],
)
TWELVE_DATA = lines(
    "datetime;open;high;low;close;volume",
    [f"2024-03-04 14:3{k}:00;{o};{h};{low};{c};{v}" for k, (o, h, low, c, v) in enumerate(BARS)][::-1],
)
AMIBROKER = lines(
    "Ticker,Date/Time,Open,High,Low,Close,Volume,Open Int",
    [
        f"AAPL,3/{d[-2:]}/2024,{o},{h},{low},{c},{v},0"
        for d, (o, h, low, c, v) in zip(DAYS, BARS, strict=True)
    ],
)
REFINITIV = lines(
    "#RIC,Domain,Date-Time,GMT Offset,Type,Open,High,Low,Last,Volume",
    [
        f"AAPL.O,Market Price,{t[:-1]}.000000000Z,-5,Intraday 1Min,{o},{h},{low},{c},{v}"
        for t, (o, h, low, c, v) in zip(MINUTES, BARS, strict=True)
    ],
)
NORGATE = lines(
    "Date,Open,High,Low,Close,Volume,Turnover,Unadjusted Close,Dividend",
    [
        f"{d.replace('-', '')},{o},{h},{low},{c},{v},9,{c},0"
        for d, (o, h, low, c, v) in zip(DAYS, BARS, strict=True)
    ],
)


@pytest.mark.parametrize(
    ("name", "content", "timeframe", "first"),
    [
        ("tiingo.csv", TIINGO, "1d", "2024-03-12"),
        ("alpaca.json", ALPACA, "1m", "2024-03-04T14:30:00Z"),
        ("coinbase.json", COINBASE, "1m", "2024-03-04T14:30:00Z"),
        ("bitfinex.json", BITFINEX, "1m", "2024-03-04T14:30:00Z"),
        ("coingecko.json", COINGECKO, "4h", "2024-03-04T12:00:00Z"),
        ("bloomberg.csv", BLOOMBERG, "1d", "2024-03-12"),
        ("twelvedata.csv", TWELVE_DATA, "1m", "2024-03-04T14:30:00Z"),
        ("amibroker.csv", AMIBROKER, "1d", "2024-03-12"),
        ("refinitiv.csv", REFINITIV, "1m", "2024-03-04T14:30:00Z"),
        ("norgate.csv", NORGATE, "1d", "2024-03-12"),
    ],
)
def test_the_first_line_that_is_shown_reads_the_file(name, content, timeframe, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content)
    shown = run("--json", "import", name, "--look")
    command = json.loads(shown)["readings"][0]["command"]
    assert f"ohlcv:VENUE:SYMBOL:{timeframe}" in command
    run(*shlex.split(command.replace("ohlcv:VENUE:SYMBOL", "ohlcv:mine:X"))[1:])
    with EmbeddedStore("bars") as store:
        series = SeriesId.parse(f"ohlcv:mine:X:{timeframe}")
        bars = store.read(series, Span(to_ns("2020-01-01"), to_ns("2030-01-01"))).frame
    expected = [(*bar[:4], None if name == "coingecko.json" else float(bar[4])) for bar in BARS]
    assert [row[1:] for row in bars.rows()] == expected
    assert iso(int(stamps(bars)[0])) == first


def test_ticks_are_refused_and_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ticks.csv").write_text(
        lines(
            "Timestamp,Bid price,Ask price,Bid volume,Ask volume", ["20240304 09:30:00:000,1.1,1.2,5,6"] * 3
        )
    )
    found: dict[str, Any] = json.loads(run("--json", "import", "ticks.csv", "--look", code=2))
    assert found["readings"] == []
    assert found["refused"]["message"] == "no column is seen for ts, open, high, low, close"


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--store", "bars", *words])
    assert result.exit_code == code, result.output
    return result.stdout
