"""What the page on QuestDB writes for programs of one's own, run as it stands there."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import quote

import duckdb
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from qmtl.foundation.questdb_login import QuestDBLogin
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.interfaces.cli.main import app
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.wal import settle
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.io.vendors.questdb import QuestDBVendor
from qmtl.runtime.sdk.stores import questdb_store
from qmtl.runtime.testing.bars import synthetic_bars
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer

PAGE = Path(__file__).parents[5] / "docs/en/operations/questdb.md"
START = to_ns("2024-01-01")


def block(words: str) -> str:
    """The block of the page that has these words."""
    blocks = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [text for text in blocks if words in text]
    return str(found)


@pytest.fixture
def client(questdb_server: QuestDBServer) -> Client:
    return Client(QuestDBLogin("127.0.0.1", questdb_server.port, USER, PASSWORD))


def test_a_view_gives_opens_and_our_symbols(client: Client) -> None:
    client.query(
        "CREATE TABLE trades_1m (timestamp TIMESTAMP, pair SYMBOL, o DOUBLE, h DOUBLE, l DOUBLE, c DOUBLE,"
        " v DOUBLE) TIMESTAMP(timestamp) PARTITION BY MONTH"
    )
    closes = [(START + minute * MINUTE) // 1000 for minute in (1, 2, 3)]
    rows = ", ".join(f"({ts}, 'BTCUSDT', 1, 4, 0.5, 2, 3)" for ts in closes)
    client.query(f"INSERT INTO trades_1m VALUES {rows}")
    settle(client, "trades_1m")
    client.query(block("CREATE VIEW trades_open"))
    address = f"{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{client.address.port}"
    vendor = QuestDBVendor(f"questdb://{address}?table=trades_open&columns=symbol=symbol", holes="no_trade")

    async def answered() -> Coverage:
        span = Span(START - 9 * MINUTE, START + 9 * MINUTE)
        series = SeriesId.parse("ohlcv:desk:BTC/USDT:1m")
        return Coverage([page.answered async for page in vendor.pages(series, span)])

    assert asyncio.run(answered()) == Coverage.of(Span(START, START + 3 * MINUTE))


def test_what_holds_is_there_for_grafana_and_duckdb(
    client: Client, questdb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, day = SeriesId.parse("ohlcv:mine:GOLD:1m"), Span(START, START + DAY)
    bars = synthetic_bars(series, day)
    with questdb_store(questdb_url) as store:
        for price in (2.0, 1.0):  # what was corrected is there once
            changed = bars.with_columns(pl.col("open", "high", "low", "close") * price)
            store.commit(series, Write("here", day.end, changed, answered=Coverage.of(day)))
        state = store.questdb()
        assert (state.trails_by, state.rows) == (0, 2 * bars.height)
    view, server = state.view, f"127.0.0.1:{client.address.port}"
    of_desk = "questdb://db.desk:9000?catalog=/var/lib/bars&name=desk"

    panel = block("SELECT ts, first(open)").replace("desk_current", view)
    for macro, value in (("from", START // 10**6), ("to", (START + 2 * HOUR) // 10**6), ("interval", "1h")):
        panel = panel.replace(f"$__{macro}", str(value))
    volume = bars["volume"].to_numpy().reshape(24, 60).sum(axis=1)
    hours = client.query(panel)
    assert [row[0][:13] for row in hours] == ["2024-01-01T00", "2024-01-01T01"]
    assert np.allclose([row[5] for row in hours], volume[:2])
    assert np.isclose(hours[0][2], bars["high"][:60].max())
    ((name, ts, *_),) = client.query(block("LATEST ON").replace("desk_current", view))
    assert (name, ts[:16]) == (series.text, "2024-01-01T23:59")

    monkeypatch.chdir(tmp_path)
    wanted = block("SELECT time_bucket")
    Path("qmtl.yml").write_text("seamless: {}\n")
    words = shlex.split(block("fetch ohlcv:mine:GOLD").replace(of_desk, questdb_url))[1:]
    result = CliRunner().invoke(app, ["--config", "qmtl.yml", *words])
    assert result.exit_code == 0, result.output
    found = [duckdb.sql(wanted).pl()]
    Path("gold.parquet").unlink()
    there = block("curl -sfG 'http://db.desk:9000/exp'").replace("db.desk:9000", server)
    command = shlex.split(there.replace("desk_current", view))
    subprocess.run([*command, "--user", f"{USER}:{PASSWORD}"], check=True)
    found.append(duckdb.sql(wanted).pl())
    for rows in found:
        assert np.allclose(rows["volume"], volume)
