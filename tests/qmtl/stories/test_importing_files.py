"""Files and frames as people have them become part of a real store: whole, as one series, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import feather

from qmtl.foundation.errors import ConformancePipelineError, InvalidRequestError, MissingDataError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.vendors.files import FilesVendor
from qmtl.runtime.sdk.importing import import_file, import_frame
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock

CASES = Path(__file__).parents[1] / "runtime" / "io" / "cases"
NOW = "2026-02-01T00:00:00Z"
SERIES = SeriesId.parse("ohlcv:mine:BTC/USDT:1m")
START = to_ns("2024-01-01")
HEADER = "ts,open,high,low,close,volume\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "store", clock=FakeClock(NOW))
    yield store
    store.close()


@pytest.fixture
def load(store: EmbeddedStore) -> Callable[..., Any]:
    def imported(path: Path, series: str | SeriesId = SERIES, **options: Any) -> Any:
        return import_file(store, path, series, clock=FakeClock(NOW), **options)

    return imported


def lines(first: int, end: int, price: float = 2) -> str:
    return "".join(f"2024-01-01T00:{m:02}:00Z,{price},3,1,2,{m}\n" for m in range(first, end))


def stored(store: EmbeddedStore, series: SeriesId = SERIES) -> list[int]:
    frame = store.read(series, Span(START, START + 60 * MINUTE)).frame
    return [(ts - START) // MINUTE for ts in stamps(frame).tolist()]


class TestSeveralFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        (folder / "a.csv").write_text(HEADER + lines(0, 5))
        (folder / "b.csv").write_text(HEADER + lines(3, 8))
        return folder

    def test_a_folder_is_one_commit_and_overlaps_may_agree(self, store, load, folder):
        (folder / "README.md").write_text("hello")
        result = load(folder)
        assert stored(store) == list(range(8))
        assert (result.rows, result.added, store.newest().tx) == (10, 8, 1)
        assert [(f.rule, f.severity, f.count) for f in result.findings] == [("temporal.duplicate", "info", 2)]
        assert "left out, being no files of bars: README.md" in result.notes

    def test_so_is_a_pattern(self, store, load, folder):
        (folder / "c.csv").write_text("what is this\n")
        assert load(folder / "[ab].csv").added == 8

    def test_files_that_disagree_are_refused_with_both(self, store, load, folder):
        (folder / "b.csv").write_text(HEADER + lines(3, 4) + lines(4, 8, price=2.5))
        with pytest.raises(ConformancePipelineError) as caught:
            load(folder)
        assert "temporal.conflicting_rows" in str(caught.value)
        assert "a.csv line 6" in str(caught.value)
        assert "b.csv line 3" in str(caught.value)
        assert store.newest().tx == 0

    def test_one_bad_file_refuses_all(self, store, load, folder):
        (folder / "c.csv").write_text(HEADER + lines(8, 9) + "2024-01-01T00:09:00Z,x,3,1,2,1\n")
        with pytest.raises(InvalidRequestError, match=r"c\.csv, line 3, column 'open'"):
            load(folder)
        assert store.newest().tx == 0

    def test_files_of_several_series_are_refused(self, store, load, folder):
        for name, symbol in (("a", "BTCUSDT"), ("b", "ETHUSDT")):
            text = (
                (HEADER + lines(0, 3))
                .replace("\n", f",{symbol}\n")
                .replace(f"volume,{symbol}", "volume,symbol")
            )
            (folder / f"{name}.csv").write_text(text)
        with pytest.raises(InvalidRequestError, match="several series") as caught:
            load(folder)
        assert "'BTCUSDT' in" in str(caught.value)
        assert "'ETHUSDT' in" in str(caught.value)

    def test_each_file_has_its_own_unit(self, store, load):
        folder, columns = CASES / "03-binance-ms-us", "ts,open,high,low,close,volume"
        with pytest.raises(InvalidRequestError, match=r"2025-01\.csv, line 1"):
            load(folder, unit="ms", columns=columns)
        assert store.newest().tx == 0
        assert load(folder / "*2024-12.csv", unit="ms", columns=columns).added == 600
        assert load(folder / "*2025-01.csv", unit="us", columns=columns).added == 600

    def test_nothing_is_there(self, load, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(InvalidRequestError, match="holds no file of bars"):
            load(tmp_path / "empty")
        with pytest.raises(InvalidRequestError, match="no file is called like"):
            load(tmp_path / "*.csv")


class TestFrames:
    EXPECTED = pl.DataFrame(
        {"ts": [START, START + MINUTE], "open": [2.0, 2.5], "high": [3.0, 3.0], "low": [1.0, 1.0],
         "close": [2.0, 2.0], "volume": [5.0, 6.0]}
    ).with_columns(pl.col("ts").cast(pl.Datetime("ns", "UTC")))  # fmt: skip

    def frames(self) -> dict[str, Any]:
        table = self.EXPECTED.to_pandas()
        tokyo = table["ts"].dt.as_unit("s").dt.tz_convert("Asia/Tokyo")
        multi = table.assign(symbol="BTCUSDT").set_index(["symbol", "ts"])
        return {
            "polars": self.EXPECTED,
            "lazy": self.EXPECTED.lazy(),
            "arrow": self.EXPECTED.to_arrow(),
            "batch": pa.Table.to_batches(self.EXPECTED.to_arrow())[0],
            "pandas": table,
            "named index": table.set_index("ts"),
            "unnamed index": table.set_index("ts").rename_axis(None),
            "local, in seconds": table.assign(ts=tokyo).set_index("ts"),
            "two indexes": multi,
            "two without names": multi.rename_axis([None, None]),
        }  # fmt: skip

    @pytest.mark.parametrize(
        "name",
        ["polars", "lazy", "arrow", "batch", "pandas", "named index", "unnamed index", "local, in seconds",
         "two indexes", "two without names"],
    )  # fmt: skip
    def test_of_each_library_and_index(self, store, tmp_path, name):
        frame = self.frames()[name]
        result = import_frame(store, frame, SERIES, clock=FakeClock(NOW))
        assert store.read(SERIES, Span(START, START + 60 * MINUTE)).frame.equals(self.EXPECTED)
        assert result.path == "the frame"
        if isinstance(frame, pd.DataFrame):
            for suffix, write in (("parquet", frame.to_parquet), ("feather", None)):
                path = tmp_path / f"bars.{suffix}"
                if write is None:
                    feather.write_feather(pa.Table.from_pandas(frame), str(path))
                else:
                    write(path)
                again = import_file(store, path, SERIES, clock=FakeClock(NOW))
                assert (again.unchanged, again.added) == (2, 0), suffix

    def test_the_same_rules(self, store):
        wrong = self.EXPECTED.with_columns(high=pl.lit(0.5))
        with pytest.raises(ConformancePipelineError, match=r"quality\.high_below_low at row 1, 2"):
            import_frame(store, wrong, SERIES, clock=FakeClock(NOW))
        two = pl.concat([self.EXPECTED.with_columns(pl.lit(s).alias("symbol")) for s in ("A", "B")])
        with pytest.raises(InvalidRequestError, match="several series"):
            import_frame(store, two, SERIES, clock=FakeClock(NOW))
        with pytest.raises(InvalidRequestError, match="a list cannot be read as bars"):
            import_frame(store, [1, 2], SERIES)


class TestWhere:
    def test_a_provider_a_store_and_its_folder(self, tmp_path):
        path = tmp_path / "bars.csv"
        path.write_text(HEADER + lines(0, 2))
        folder = tmp_path / "new"
        with pytest.raises(InvalidRequestError):
            import_file(folder, path, SERIES, unit="s", columns="ts=when")
        assert not folder.exists(), "a refusal leaves no trace"
        assert import_file(str(folder), path, SERIES).added == 2
        assert import_file(folder, path, SERIES).unchanged == 2
        with SeamlessDataProvider(folder, vendors={}, calendars={SERIES.text: "FX"}) as provider:
            path.write_text(HEADER + lines(2, 3))
            assert import_file(provider, path, SERIES).added == 1
            assert provider.store.facts(SERIES) == SeriesFacts(calendar="FX")
            assert (
                provider.fetch(SERIES, "2024-01-01", "2024-01-01T00:03Z", partial_ok=True).frame.height == 3
            )

    def test_an_address_is_no_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "bars.csv").write_text(HEADER + lines(0, 2))
        with pytest.raises(InvalidRequestError, match="s3://bucket"):
            import_file("s3://bucket", "bars.csv", SERIES)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bars.csv"]


class TestTimes:
    def test_hours_from_the_open_of_sessions(self, store, load):
        path = CASES / "19-session-anchor-deadend/tv_1h.csv"
        series = SeriesId.parse("ohlcv:tv:AAPL:1h")
        with pytest.raises((ConformancePipelineError, InvalidRequestError)) as caught:
            load(path, series, calendar="XNYS")
        assert "2024-03-04T14:30:00Z lies between 2024-03-04T14:00:00Z and 2024-03-04T15:00:00Z" in str(
            caught.value
        )
        assert str(caught.value).count("lies between") == 3
        for advice in ("`anchor=session`", "`label=close`", "`tz=ZONE`", "timeframe"):
            assert advice in str(caught.value)
        assert store.newest().tx == 0
        result = load(path, series, calendar="XNYS", anchor="session")
        assert (result.added, result.counts["unknown"]) == (70, 0)
        assert store.facts(series) == SeriesFacts(calendar="XNYS", anchor="session")

    @pytest.mark.parametrize(("declared", "bad"), [({}, 35), ({"anchor": "session"}, 50)])
    def test_hours_of_two_grids_are_never_taken_for_one(self, store, load, declared, bad):
        """Before and after the session hours start on the clock, and within it at its open, 9:30."""
        path = CASES / "19-session-anchor-deadend/prepost_1h.csv"
        series = SeriesId.parse("ohlcv:y:AAPL:1h")
        with pytest.raises(ConformancePipelineError, match=f"{bad} of 85 rows are impossible") as caught:
            load(path, series, calendar="XNYS", **declared)
        assert str(caught.value).count("lies between") == 3
        assert store.newest().tx == 0
        result = load(path, series, calendar="XNYS", partial_ok=True, **declared)
        assert (result.added, result.quarantined) == (85 - bad, bad)
        found = {finding.rule: finding for finding in result.report.findings}
        assert found["temporal.off_grid"].count == bad
        # What was traded while the exchange was closed is there, with a finding, and not `closed`.
        assert result.counts["present"] == 85 - bad
        outside = found.get("temporal.extended_hours")
        assert (0 if outside is None else outside.count) == (0 if declared else 45)

    def test_one_hour_alone_tells_no_anchor(self, store, load):
        """15:00 is an hour of the clock, and lies within one that counts from 9:30 in New York."""
        path = CASES / "19-session-anchor-deadend/one.csv"
        series = SeriesId.parse("ohlcv:y:ONE:1h")
        with pytest.raises(ConformancePipelineError) as caught:
            load(path, series, calendar="XNYS", anchor="session")
        assert "2024-03-04T15:00:00Z lies between 2024-03-04T14:30:00Z and 2024-03-04T15:30:00Z" in str(
            caught.value
        )
        assert store.facts(series) is None
        assert load(path, series, calendar="XNYS").counts["present"] == 1

    def test_daily_stamps_within_their_sessions(self, store, load):
        path, series = CASES / "01-yfinance-daily-offset/AAPL.csv", SeriesId.parse("ohlcv:y:AAPL:1d")
        with pytest.raises((ConformancePipelineError, InvalidRequestError)) as caught:
            load(path, series, calendar="XNYS")
        assert "2024-02-20T05:00:00Z lies between 2024-02-20 and 2024-02-21" in str(caught.value)
        assert "`label=session`" in str(caught.value)
        result = load(path, series, calendar="XNYS", label="session")
        assert (result.added, result.counts["unknown"], result.counts["closed"]) == (28, 0, 10)

    def test_a_close_names_no_session(self, load, tmp_path):
        path = tmp_path / "bars.csv"
        path.write_text(HEADER + "2024-03-04T21:00:00Z,2,3,1,2,1\n")
        with pytest.raises(InvalidRequestError, match="it is the close of a session"):
            load(path, "ohlcv:y:AAPL:1d", calendar="XNYS", label="session")

    def test_label_session_is_for_days_and_weeks(self, load, tmp_path):
        path = tmp_path / "bars.csv"
        path.write_text(HEADER + lines(0, 1))
        with pytest.raises(InvalidRequestError, match="bars of a day or a week"):
            load(path, label="session")


class TestIdentity:
    def test_one_value_that_contradicts_is_a_warning(self, load, tmp_path):
        path = CASES / "12-many-symbols/2024-03-04.csv"
        options = {"columns": "ts=window_start", "unit": "ns"}
        result = load(path, "ohlcv:p:AA:1m", where="ticker=AA", **options)
        assert result.added == 30
        assert result.notes == ("1 column is not used: 'transactions'",)
        one = tmp_path / "one.csv"
        one.write_text(
            "\n".join(line for line in path.read_text().splitlines() if not line.startswith("AA,"))
        )
        result = load(one, "ohlcv:p:MSFT:1m", **options)
        assert result.notes[0].startswith(
            "warning: column 'ticker' says 'A', and the rows became ohlcv:p:MSFT:1m"
        )
        assert result.added == 30

    @pytest.mark.parametrize("where", ['name="Acme, Inc."', {"name": "Acme, Inc."}, ["name=Acme, Inc."]])
    def test_a_value_with_a_comma_is_asked_for(self, load, tmp_path, where):
        path = tmp_path / "bars.csv"
        names = ['"Acme, Inc."', '"b=c"']
        rows = [f"{line},{names[i % 2]}" for i, line in enumerate(lines(0, 8).splitlines())]
        path.write_text("\n".join([HEADER.strip() + ",name", *rows]))
        with pytest.raises(InvalidRequestError, match=r'where=\'name="Acme, Inc."\''):
            load(path)
        assert load(path, where=where).added == 4
        assert load(path, "ohlcv:p:Y:1m", where="name=b=c").added == 4

    def test_any_value_may_be_declared_to_say_nothing(self, load, tmp_path):
        path = tmp_path / "bars.csv"
        rows = [f"{line},{'Mon' if i % 2 else 'Tue'}" for i, line in enumerate(lines(0, 8).splitlines())]
        path.write_text("\n".join([HEADER.strip() + ",weekday", *rows]))
        with pytest.raises(InvalidRequestError, match=r"where='weekday=\*'"):
            load(path)
        assert load(path, where="weekday=*").added == 8

    def test_the_vendor_picks_the_rows_of_its_series(self, tmp_path):
        vendor = FilesVendor(
            str(CASES / "12-many-symbols/2024-03-04.csv"), columns="ts=window_start", unit="ns",
            where={"ticker": "{symbol}"},
        )  # fmt: skip
        with SeamlessDataProvider(tmp_path / "bars", vendors=vendor) as provider:
            for symbol, first in (("A", "2024-03-04T14:30Z"), ("AA", "2024-03-04T14:31Z")):
                answer = provider.fetch(f"ohlcv:p:{symbol}:1m", first, to_ns(first) + MINUTE)
                assert answer.frame.height == 1
            with pytest.raises(Exception, match="to be 'MSFT'") as caught:
                provider.fetch("ohlcv:p:MSFT:1m", "2024-03-04T14:30Z", "2024-03-04T14:31Z")
            assert not isinstance(caught.value, MissingDataError)
            states = provider.coverage("ohlcv:p:MSFT:1m", "2024-03-04T14:30Z", "2024-03-04T14:31Z")
            assert states.counts["unknown"] == 1

    def test_the_vendor_serves_no_symbol_that_is_not_in_the_file(self, tmp_path):
        path = tmp_path / "A.csv"
        text = (CASES / "12-many-symbols/2024-03-04.csv").read_text()
        path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("AA,")))
        vendor = FilesVendor(str(path), columns="ts=window_start", unit="ns")
        with SeamlessDataProvider(tmp_path / "bars", vendors=vendor) as provider:
            with pytest.raises(Exception, match="holds no bars of the series"):
                provider.fetch("ohlcv:p:MSFT:1m", "2024-03-04T14:30Z", "2024-03-04T14:31Z")
            assert (
                provider.coverage("ohlcv:p:MSFT:1m", "2024-03-04T14:30Z", "2024-03-04T14:31Z").counts[
                    "unknown"
                ]
                == 1
            )
