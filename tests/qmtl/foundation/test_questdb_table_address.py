"""Addresses of a desk's own tables: what they name, what is refused, and what nobody is shown."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_table_address import QuestDBTableAddress
from qmtl.foundation.series import SeriesId

SAME = {name: name for name in ("ts", "open", "high", "low", "close", "volume")}


def test_an_address_names_server_table_and_columns() -> None:
    found = QuestDBTableAddress.parse(
        "questdb://me:p%40ss%3Aw%2Frd@db.desk:9001?table=trades_1m"
        "&columns=ts=timestamp,open=o,high=h,low=l,close=c,volume=v,symbol=sym,updated_at=written"
    )
    named = {"ts": "timestamp", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    named |= {"symbol": "sym", "updated_at": "written"}
    assert found == QuestDBTableAddress("db.desk", 9001, "me", "p@ss:w/rd", "trades_1m", named, None)
    assert found.shown == "questdb://me@db.desk:9001?table=trades_1m"
    assert "p@ss" not in f"{found!r} {found} {found.redacted('it was p@ss:w/rd')}"


def test_a_column_that_is_not_named_is_called_as_we_call_it() -> None:
    found = QuestDBTableAddress.parse("questdb://h?table=bars&columns=symbol=sym")
    assert found.columns == SAME | {"symbol": "sym"}


def test_a_table_of_one_series_says_which_and_may_have_no_volume() -> None:
    found = QuestDBTableAddress.parse("questdb://h?table=bars&columns=volume=&series=ohlcv:desk:GOLD/EUR:1d")
    assert found.series == SeriesId.parse("ohlcv:desk:GOLD/EUR:1d")
    assert found.columns == {name: name for name in SAME if name != "volume"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("questdb:trades", "does not begin with questdb://"),
        ("questdb://?table=trades", "names no host"),
        ("questdb://me:s3cr/et@h?table=trades", "have to be quoted"),
        ("questdb://h?table=trades&columns=symbol=s3cr@et", "have to be quoted"),
        ("questdb://h?table", "cannot be read"),
        ("questdb://h", "names no table"),
        ("questdb://h?columns=symbol=s", "names no table"),
        ("questdb://h?table=a&table=b&columns=symbol=s", "an option twice"),
        ("questdb://h?catalog=/var/bars", "a store is no vendor"),
        ("questdb://h?table=trades&name=desk", "'name' is no option"),
        ("questdb://h?table=trades", "of which series its rows are"),
        ("questdb://h?table=trades&columns=symbol=s&series=ohlcv:desk:A:1d", "leave symbol= out"),
        ("questdb://h?table=trades&series=A", "A"),
        ("questdb://h?table=trades&columns=price=p", "'price' is none of the columns"),
        ("questdb://h?table=trades&columns=symbol=s,open=a,open=b", "names the column open twice"),
        ("questdb://h?table=trades&columns=symbol=s,open=", "names no column for open"),
        ("questdb://h?table=trades&columns=ts,open", "names no column for ts"),
        ("questdb://h?table=a%22;DROP TABLE b&columns=symbol=s", "no name of a table"),
        ("questdb://h?table=a'b&columns=symbol=s", "no name of a table"),
        ("questdb://h?table=a&columns=symbol=s%22", "no name of a table"),
        ("questdb://h?table=a%0Ab&columns=symbol=s", "no name of a table"),
    ],
)
def test_what_cannot_be_used_is_refused_without_its_password(text: str, why: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        QuestDBTableAddress.parse(text)
    assert why in str(refused.value)
    assert refused.value.next_step
    assert "s3cr" not in str(refused.value)
