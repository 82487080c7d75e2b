"""What the page on QuestDB writes in SQL, run as it stands there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from qmtl.foundation.questdb_login import QuestDBLogin
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.questdb.server import QuestDBServer as Client
from qmtl.runtime.io.questdb.wal import settle
from qmtl.runtime.io.vendors.questdb import QuestDBVendor
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer

PAGE = Path(__file__).parents[5] / "docs/en/operations/questdb.md"
START = to_ns("2024-01-01")


def block(begin: str) -> str:
    """The block of the page that begins so."""
    (found,) = re.findall(rf"```text\n({begin}.*?)```", PAGE.read_text(), re.DOTALL)
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
