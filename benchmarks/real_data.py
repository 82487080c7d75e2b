"""Real bars from outside this project: from the folder that `QMTL_TEST_DATA` names, or `../shared/data`."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl

from qmtl.foundation.frames import PRICES, VALUES, bars
from qmtl.foundation.times import SECOND

DATA = Path(os.environ.get("QMTL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
FREQTRADE = "crypto/freqtrade/tests/testdata"
OCTOBOT = "crypto/OctoBot/octobot/strategy_optimizer/optimizer_data_files/AbstractExchangeHistoryCollector_"


def is_there() -> bool:
    """Whether the folder holds what its manifest says."""
    return (DATA / "MANIFEST.md").is_file()


def feather(path: Path) -> pl.DataFrame:
    """A Feather file with the columns `date` and those of bars, sorted and unique."""
    found = pl.read_ipc(path.read_bytes())
    values = {column: found[column].cast(pl.Float64).to_numpy() for column in VALUES}
    return bars(found["date"].dt.epoch("ns").to_numpy(), values)


def recorded(path: Path, symbol: str, timeframe: str) -> pl.DataFrame:
    """Bars of an SQLite file that keeps candles as JSON lists; the last one was still forming."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        query = "select candle from ohlcv where symbol = ? and time_frame = ? order by timestamp"
        candles = [json.loads(candle) for (candle,) in connection.execute(query, (symbol, timeframe))][:-1]
    rows = np.unique(np.array(candles, dtype=float), axis=0)
    values = {column: rows[:, place] for place, column in enumerate((*PRICES, "volume"), start=1)}
    return bars((rows[:, 0] * SECOND).astype(np.int64), values)
