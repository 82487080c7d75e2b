"""Addresses of stores with rows in QuestDB: what they name, what is refused, and what nobody is shown."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_address import QuestDBAddress


def test_an_address_names_server_catalog_and_tables() -> None:
    found = QuestDBAddress.parse("questdb://me:p%40ss%3Aw%2Frd@db.desk:9001?catalog=/var/bars&name=desk_2")
    assert found == QuestDBAddress("db.desk", 9001, "me", "p@ss:w/rd", "/var/bars", "desk_2")
    assert found.shown == "questdb://me@db.desk:9001?catalog=/var/bars&name=desk_2"
    assert "p@ss" not in f"{found!r} {found} {found.redacted('it was p@ss:w/rd')}"
    assert found.redacted("questdb://me:p%40ss%3Aw%2Frd@db") == "questdb://me:...@db"
    assert QuestDBAddress.parse(found.shown) == QuestDBAddress(
        "db.desk", 9001, "me", "", "/var/bars", "desk_2"
    )


def test_what_is_left_out_has_a_default() -> None:
    assert QuestDBAddress.parse("questdb://localhost?catalog=bars") == QuestDBAddress(
        "localhost", 9000, "", "", "bars", "qmtl"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("questdb:bars", "does not begin with questdb://"),
        ("questdb://localhost", "names no catalog"),
        ("questdb://?catalog=bars", "names no host"),
        ("questdb://localhost:port?catalog=bars", "cannot be read"),
        ("questdb://localhost?catalog=bars&table=trades", "'table' is no option"),
        ("questdb://localhost?catalog=bars&catalog=other", "an option twice"),
        ("questdb://localhost?catalog=bars&name=A;DROP", "the name 'A;DROP'"),
        ("questdb://localhost?catalog=postgresql://db", "not served yet"),
        ("questdb://me:s3cr/et@localhost?catalog=bars", "have to be quoted"),
        ("questdb://me:s3cr?et@localhost?catalog=bars", "have to be quoted"),
        ("questdb://localhost/db?catalog=bars", "have to be quoted"),
    ],
)
def test_what_cannot_be_used_is_refused_without_its_password(text: str, why: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        QuestDBAddress.parse(text)
    assert why in str(refused.value)
    assert "s3cr" not in str(refused.value)
