"""More programs and services, as they write bars: the first line that a look shows reads the right values."""

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
    (10.0, 10.9, 9.8, 10.5, 70),
    (10.5, 11.2, 10.1, 11.0, 80),
    (11.0, 11.1, 10.2, 10.4, 90),
    (10.4, 10.8, 9.9, 10.1, 60),
]
EPOCH = to_ns("2024-03-04T14:30Z") // 10**9
MINUTE = "2024-03-04T14:30:00Z"
DAY = "2024-03-12"
EACH = list(enumerate(BARS))


def lines(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows]) + "\n"


SIERRA_CHART = lines(
    "Date, Time, Open, High, Low, Last, Volume, NumberOfTrades, BidVolume, AskVolume",
    [f"2024/3/4, 14:3{k}:00.000000, {o}, {h}, {low}, {c}, {v}, 5, 3, 4" for k, (o, h, low, c, v) in EACH],
)
FINAM = lines(
    "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>",
    [f"SBER;1;20240304;143{k}00;{o};{h};{low};{c};{v}" for k, (o, h, low, c, v) in EACH],
)
METASTOCK = lines(
    "<TICKER>,<PER>,<DTYYYYMMDD>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
    [f"AAPL,I,20240304,143{k}00,{o},{h},{low},{c},{v},0" for k, (o, h, low, c, v) in EACH],
)
EODHD = lines(
    "Timestamp,Gmtoffset,Datetime,Open,High,Low,Close,Volume",
    [f"{EPOCH + 60 * k},0,2024-03-04 14:3{k}:00,{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in EACH],
)
# Day, close, change, change in percent, open, high, low, volume, value; newest first.
KRX = lines(
    "일자,종가,대비,등락률,시가,고가,저가,거래량,거래대금",
    [f"2024/03/{12 + k},{c},0.1,0.5,{o},{h},{low},{v},900" for k, (o, h, low, c, v) in EACH[::-1]],
)
NIKKEI = lines(
    "日付,始値,高値,安値,終値,出来高",
    [f"2024年3月{12 + k}日,{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in EACH],
)
SHARES_TRADED = lines(
    "Date,Open Price,High Price,Low Price,Close Price,Shares Traded,Change",
    [f"2024-03-{12 + k},{o},{h},{low},{c},{v},-0.5" for k, (o, h, low, c, v) in EACH],
)
# No name that is known here, in any language.
UNNAMED = lines(
    "Instr|Moment|Px1|Px2|Px3|Px4|Gehandelt",
    [f"X|2024-03-04 14:3{k}|{o}|{h}|{low}|{c}|{v}" for k, (o, h, low, c, v) in EACH],
)
ALIGNED = lines(
    "Date          Open    High     Low   Close  Volume",
    [f"2024-03-{12 + k}  {o:6.2f}  {h:6.2f}  {low:6.2f}  {c:6.2f}  {v:6d}" for k, (o, h, low, c, v) in EACH],
)
TWO_FORMS = lines(
    "date,open,high,low,close,volume",
    [
        f"{f'2024-03-{12 + k}' if k < 2 else f'{12 + k}/03/2024'},{o},{h},{low},{c},{v}"
        for k, (o, h, low, c, v) in EACH
    ],
)
OKX = json.dumps(
    {
        "code": "0",
        "msg": "",
        "data": [[str((EPOCH + 60 * k) * 1000), *map(str, bar), "700.5", "7000.1", "1"] for k, bar in EACH][
            ::-1
        ],
    }
)
# Time, open, high, low, close, average price, volume, count.
KRAKEN = json.dumps(
    {
        "error": [],
        "result": {
            "XXBTZUSD": [
                [EPOCH + 60 * k, *map(str, bar[:4]), str((bar[1] + bar[2]) / 2), str(bar[4]), 7]
                for k, bar in EACH
            ],
            "last": EPOCH,
        },
    }
)
MOEX = json.dumps(
    {
        "candles": {
            "metadata": {"open": {"type": "double"}},
            "columns": ["open", "close", "high", "low", "value", "volume", "begin", "end"],
            "data": [
                [o, c, h, low, 9.5 * v, v, f"2024-03-04 14:3{k}:00", f"2024-03-04 14:3{k}:59"]
                for k, (o, h, low, c, v) in EACH
            ],
        }
    }
)
HYPERLIQUID = json.dumps(
    [
        {"t": (EPOCH + 60 * k) * 1000, "T": (EPOCH + 60 * k) * 1000 + 59_999, "s": "BTC", "i": "1m"}
        | {"o": str(o), "c": str(c), "h": str(h), "l": str(low), "v": str(v), "n": 7}
        for k, (o, h, low, c, v) in EACH
    ]
)
FINNHUB = json.dumps(
    {name: [bar[place] for bar in BARS] for place, name in enumerate("ohlcv")}
    | {"s": "ok", "t": [EPOCH + 60 * k for k in range(4)]}
)
ALPHA_VANTAGE = json.dumps(
    {
        "Meta Data": {"1. Information": "Daily Prices", "2. Symbol": "IBM"},
        "Time Series (Daily)": {
            f"2024-03-{12 + k}": {
                f"{place}. {name}": str(value)
                for place, (name, value) in enumerate(
                    zip(("open", "high", "low", "close", "volume"), bar, strict=True), 1
                )
            }
            for k, bar in EACH[::-1]
        },
    }
)
PANDAS = json.dumps(
    {
        name: {str(to_ns(f"2024-03-{12 + k}") // 10**6): bar[place] for k, bar in EACH}
        for place, name in enumerate(("Open", "High", "Low", "Close", "Volume"))
    }
)
SEVERAL = json.dumps(
    [
        {
            "symbol": symbol,
            "t": f"2024-03-{12 + k}",
            "o": o + more,
            "h": h + more,
            "l": low + more,
            "c": c + more,
        }
        | {"v": v}
        for k, (o, h, low, c, v) in EACH
        for symbol, more in (("AA", 0), ("BB", 100))
    ]
)


@pytest.mark.parametrize(
    ("name", "content", "timeframe", "first"),
    [
        ("sierrachart.txt", SIERRA_CHART, "1m", MINUTE),
        ("finam.txt", FINAM, "1m", MINUTE),
        ("metastock.txt", METASTOCK, "1m", MINUTE),
        ("eodhd.csv", EODHD, "1m", MINUTE),
        ("krx.csv", KRX, "1d", DAY),
        ("nikkei.csv", NIKKEI, "1d", DAY),
        ("shares-traded.csv", SHARES_TRADED, "1d", DAY),
        ("unnamed.csv", UNNAMED, "1m", MINUTE),
        ("aligned.txt", ALIGNED, "1d", DAY),
        ("two-forms.csv", TWO_FORMS, "1d", DAY),
        ("okx.json", OKX, "1m", MINUTE),
        ("kraken.json", KRAKEN, "1m", MINUTE),
        ("moex.json", MOEX, "1m", MINUTE),
        ("hyperliquid.json", HYPERLIQUID, "1m", MINUTE),
        ("finnhub.json", FINNHUB, "1m", MINUTE),
        ("alphavantage.json", ALPHA_VANTAGE, "1d", DAY),
        ("pandas.json", PANDAS, "1d", DAY),
        ("several.json", SEVERAL, "1d", DAY),
    ],
)
def test_the_first_line_that_is_shown_reads_the_file(name, content, timeframe, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content, encoding="utf-8")
    command = json.loads(run("--json", "import", name, "--look"))["readings"][0]["command"]
    assert f"ohlcv:VENUE:SYMBOL:{timeframe}" in command
    run(*shlex.split(command.replace("ohlcv:VENUE:SYMBOL", "ohlcv:mine:X"))[1:])
    with EmbeddedStore("bars") as store:
        series = SeriesId.parse(f"ohlcv:mine:X:{timeframe}")
        bars = store.read(series, Span(to_ns("1970-01-01"), to_ns("2030-01-01"))).frame
    assert [row[1:] for row in bars.rows()] == [(*bar[:4], float(bar[4])) for bar in BARS]
    assert iso(int(stamps(bars)[0])) == first


def look(name: str, content: str, *words: str, code: int = 0) -> dict[str, object]:
    Path(name).write_text(content)
    return json.loads(run("--json", "import", name, "--look", *words, code=code))  # type: ignore[no-any-return]


class TestWhatIsMissingIsNamed:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_objects_in_lines(self):
        rows = [
            json.dumps({"t": EPOCH + k, "ohlc": {"o": 1, "h": 2, "l": 1, "c": 2}, "v": 5}) for k in range(5)
        ]
        found = look("a.jsonl", "\n".join(rows), code=2)
        assert found["refused"]["message"] == "column 'ohlc' holds objects, with the keys 'o', 'h', 'l', 'c'"
        assert "jq" in found["next_step"]

    def test_hours_from_half_past_have_two_explanations(self):
        rows = [f"2024-03-04 {9 + k:02d}:30,{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in EACH]
        found = look("a.csv", lines("time,open,high,low,close,volume", rows), code=2)
        assert "`calendar=MIC` `anchor=session`" in found["next_step"]
        assert "`tz=Asia/Kolkata` is 5:30 ahead" in found["next_step"]
        found = look("a.csv", Path("a.csv").read_text(), "--tz", "Asia/Kolkata")
        assert found["readings"][0]["first"] == "2024-03-04T04:00:00Z"

    def test_a_number_that_may_be_the_volume_is_never_declared_away(self):
        rows = [f"2024-03-{12 + k},{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in EACH]
        found = look("a.csv", lines("Date,Open,High,Low,Close,Umgesetzt", rows))
        assert [one["options"]["columns"] for one in found["readings"]] == ["volume=Umgesetzt"]
        assert "'Umgesetzt' is the volume" in found["cautions"][0]

    @pytest.mark.parametrize("name", ["Adj Close", "VWAP", "SMA20", "Change %", "Trades", "Turnover"])
    def test_other_numbers_are_no_volume(self, name):
        rows = [f"2024-03-{12 + k},{o},{h},{low},{c},{c}" for k, (o, h, low, c, _) in EACH]
        found = look("a.csv", lines(f"Date,Open,High,Low,Close,{name}", rows))
        assert [one["options"]["columns"] for one in found["readings"]] == ["volume="]

    def test_a_bar_that_was_cut_off(self):
        rows = [f"2024-03-{12 + k},{o},{h},{low},{c},{v}" for k, (o, h, low, c, v) in EACH]
        whole = lines("date,open,high,low,close,volume", rows)
        found = look("a.csv", whole[:-13])
        assert "--skip-foot 1" in found["readings"][0]["command"]
        (caution,) = found["cautions"]
        assert "a bar that was cut off" in caution
        assert "leaves it out: '2024-03-15,10.4,10.8'" in caution
        assert look("a.csv", whole + "Downloaded from somewhere\n")["cautions"] == []

    def test_weeks_and_months_as_days(self):
        weeks = [f"2024-01-{1 + 7 * k:02d},1,1,1,1,1" for k in range(5)]
        weeks += [f"2024-02-{5 + 7 * k:02d},1,1,1,1,1" for k in range(4)]
        found = look("a.csv", lines("date,open,high,low,close,volume", weeks), "--series", "ohlcv:m:X:1d")
        assert any("name the series with :1w" in note for note in found["notes"])
        months = [f"2024-{m:02d}-01,1,1,1,1,1" for m in range(1, 13)]
        Path("b.csv").write_text(lines("date,open,high,low,close,volume", months))
        shown = run("import", "b.csv", "--series", "ohlcv:m:X:1d")
        assert "warning: the series is of 1d bars" in shown
        assert "monthly bars" in shown


class TestWhatIsSaid:
    """Columns and conditions of a person, of a file with two instruments in turns."""

    COLUMNS = "ts=Moment,open=Px1,high=Px2,low=Px3,close=Px4,volume=Gehandelt"

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        rows = [
            f"{name}|2024-03-04 14:3{k}|{o}|{h}|{low}|{c}|{v}"
            for k, (o, h, low, c, v) in EACH
            for name in ("AA", "BB")
        ]
        Path("a.csv").write_text(lines("Instr|Moment|Px1|Px2|Px3|Px4|Gehandelt", rows))

    @pytest.mark.parametrize(
        ("words", "where"),
        [((), "Instr=AA"), (("--where", "Instr=BB"), "Instr=BB"), (("--where", "Instr=*"), "Instr=*")],
    )
    def test_a_condition_is_added_or_kept(self, words, where):
        shown = run("--json", "import", "a.csv", "--look", "--columns", self.COLUMNS, *words)
        (reading,) = json.loads(shown)["readings"]
        assert reading["options"] == {"columns": self.COLUMNS, "where": where}

    def test_columns_that_are_not_there_are_refused_with_those_that_are(self):
        shown = run("--json", "import", "a.csv", "--look", "--columns", "ts=nope", code=2)
        assert "'Instr', 'Moment'" in json.loads(shown)["refused"]["why"]


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--store", "bars", *words])
    assert result.exit_code == code, result.output
    return result.stdout
