"""Addresses of stores with rows in QuestDB: what they name, what is refused, and what nobody is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_address import QuestDBAddress
from qmtl.foundation.store_address import StoreAddress


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


@pytest.mark.parametrize("catalog", ["bars", "postgresql://me@db:5433/bars?schema=desk"])
def test_it_may_name_the_port_of_the_other_protocol(catalog: str) -> None:
    found = QuestDBAddress.parse(f"questdb://localhost?catalog={catalog}&pg=8812")
    assert (found.pg, found.port, found.name) == (8812, 9000, "qmtl")
    assert QuestDBAddress.parse(found.shown) == found
    assert found.shown.endswith("&name=qmtl&pg=8812")


@pytest.mark.parametrize(
    "text",
    [
        "questdb://q:u3st@h?catalog=postgresql://me:p%40ss+@db:5433/bars?schema=desk&sslmode=require&name=x",
        "questdb://q:u3st@h?name=x&catalog=postgresql://me:p@ss+@db:5433/bars?schema=desk&sslmode=require",
        "questdb://q:u3st@h?name=x&catalog="
        "postgresql%3A%2F%2Fme%3Ap%40ss%2B%40db%3A5433%2Fbars%3Fschema%3Ddesk%26sslmode%3Drequire",
    ],
)
def test_a_catalog_may_be_an_address_of_postgresql(text: str) -> None:
    """As it stands, with options of its own, or quoted as a whole."""
    found = QuestDBAddress.parse(text)
    place = found.place
    assert isinstance(place, StoreAddress)
    assert (place.schema, found.name) == ("desk", "x")
    assert place.conninfo == "postgresql://me:p%40ss+@db:5433/bars?sslmode=require"
    assert found.shown == (
        "questdb://q@h:9000?catalog=postgresql://me@db:5433/bars?sslmode=require&schema=desk&name=x"
    )
    assert QuestDBAddress.parse(found.shown).shown == found.shown
    assert found.within(Path("/elsewhere")) == found
    hidden = f"{found!r} {found} {found.redacted(text)}"
    for secret in ("p@ss", "p%40ss", "u3st"):
        assert secret not in hidden


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("questdb:bars", "does not begin with questdb://"),
        ("questdb://localhost", "names no catalog"),
        ("questdb://?catalog=bars", "names no host"),
        ("questdb://localhost:port?catalog=bars", "cannot be read"),
        ("questdb://localhost?catalog=bars&table=trades", "a table of a desk is no store"),
        ("questdb://localhost?catalog=bars&catalog=other", "an option twice"),
        ("questdb://localhost?catalog=bars&pg=", "pg= is no port"),
        ("questdb://localhost?catalog=bars&pg=0", "pg=0 is no port"),
        ("questdb://localhost?catalog=bars&pg=65536", "pg=65536 is no port"),
        ("questdb://localhost?catalog=bars&pg=-1", "pg=-1 is no port"),
        ("questdb://localhost?catalog=bars&port=1", "there are catalog, name and pg"),
        ("questdb://localhost?catalog=bars&name=A;DROP", "the name 'A;DROP'"),
        ("questdb://localhost?catalog=s3://db", "neither a folder nor an address of PostgreSQL"),
        ("questdb://localhost?catalog=postgresql:db", "does not begin with postgresql://"),
        ("questdb://localhost?catalog=postgresql://me:s3cr/et@db", "have to be quoted"),
        ("questdb://localhost?catalog=postgresql://me:a&name=s3cret@db", "have to be quoted"),
        ("questdb://localhost?catalog=postgresql://db?schema=a&name=A", "the name 'A'"),
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
