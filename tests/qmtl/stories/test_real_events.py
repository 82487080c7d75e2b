"""What really happened is stored and served, however it looks: Apple on 2000-09-29, and its splits."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from qmtl.foundation.errors import ConformancePipelineError
from qmtl.runtime.sdk.importing import import_file
from qmtl.runtime.sdk.provider import SeamlessDataProvider

SERIES = "ohlcv:usa:AAPL:1d"
JUMP = "quality.price_jump"


def test_a_fall_by_half_is_a_warning_until_somebody_has_looked_at_it(tmp_path: Path) -> None:
    stocks = pytest.importorskip(
        "bokeh_sampledata.stocks", reason="the shares come with bokeh_sampledata, of qmtl[demo]"
    )
    pl.DataFrame(stocks.AAPL).write_csv(tmp_path / "AAPL.csv")
    with SeamlessDataProvider(tmp_path / "store") as sdp:
        imported = import_file(sdp.store, tmp_path / "AAPL.csv", SERIES, calendar="XNYS")
        assert imported.added == imported.rows == 3_270, "warnings stop no import"
        assert [(f.rule, f.severity, f.count) for f in imported.findings] == [(JUMP, "warning", 3)]
        days = imported.findings[0].sample["ts"].dt.strftime("%Y-%m-%d").to_list()
        assert days == ["2000-06-21", "2000-09-29", "2005-02-28"]

        with pytest.raises(ConformancePipelineError) as caught:
            sdp.fetch(SERIES, "2000-09-01", "2000-11-01")
        assert "quality.price_jump: 1 bar, first 2000-09-29" in str(caught.value)
        served = sdp.fetch(SERIES, "2000-09-01", "2000-11-01", partial_ok=True).frame
        fall = served.filter(pl.col("ts").dt.strftime("%Y-%m-%d").is_in(["2000-09-28", "2000-09-29"]))
        assert fall["close"].to_list() == [53.5, 25.75]

        assert sdp.accept(SERIES, "2000-09-01", "2000-11-01") == {JUMP: (1, 1)}
        assert sdp.fetch(SERIES, "2000-09-01", "2000-11-01").frame.equals(served)
        # The splits are other bars, and nobody has looked at them yet.
        with pytest.raises(ConformancePipelineError):
            sdp.fetch(SERIES, "2000-03-01", "2013-03-01")
        assert sdp.accept(SERIES, "2000-03-01", "2013-03-01") == {JUMP: (3, 2)}
        assert sdp.fetch(SERIES, "2000-03-01", "2013-03-02").frame.height == 3_270
