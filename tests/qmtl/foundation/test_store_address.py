"""Addresses are taken apart, and never shown with a password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import names_server
from qmtl.foundation.store_address import StoreAddress


def test_the_parts_of_an_address() -> None:
    address = StoreAddress.parse("postgresql://me:hush@db.desk:5433/bars?schema=fx&sslmode=require")
    assert address.schema == "fx"
    assert address.shown == "postgresql://me@db.desk:5433/bars?sslmode=require&schema=fx"
    given_to_libpq = conninfo_to_dict(address.conninfo)
    assert given_to_libpq == {
        "user": "me",
        "password": "hush",
        "host": "db.desk",
        "port": "5433",
        "dbname": "bars",
        "sslmode": "require",
    }


def test_what_is_left_out_is_left_to_libpq() -> None:
    address = StoreAddress.parse("postgresql://")
    assert (address.schema, address.shown) == ("qmtl", "postgresql://?schema=qmtl")
    assert conninfo_to_dict(address.conninfo) == {}
    assert (
        conninfo_to_dict(StoreAddress.parse("postgresql://db?password=a+b%2B").conninfo)["password"] == "a+b+"
    )
    assert StoreAddress.parse("postgres://db/bars").shown == "postgresql://db/bars?schema=qmtl"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql:bars",
        "s3://bucket",
        "postgresql://me:hush@db/bars?schema=a&schema=b",
        "postgresql://me:hush@db/bars?schema=",
        "postgresql://me:hush@db/bars?schema=pg_catalog",
        "postgresql://me:hush@db/bars?schema=$user",
        f"postgresql://me:hush@db/bars?schema={'x' * 64}",
        "postgresql://me:hush@db/bars?schema",
        "postgresql://me:hu[sh@db/bars",
        "postgresql://me:hu#hush@db/bars",
        "postgresql://me:hu/hush@db/bars",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        StoreAddress.parse(text)
    assert "hush" not in str(refused.value)
    assert "hu[sh" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert refused.value.next_step


# Letters that stand nowhere else in the address, and signs that have a meaning in one.
_passwords = st.text(st.sampled_from("XYZ:@%"), min_size=3).map(lambda text: f"Q{text}Q".replace("%", "%25"))


@given(_passwords)
def test_a_password_is_never_shown(password: str) -> None:
    for text in (
        f"postgresql://me:{password}@db/bars",
        f"postgresql://me@db/bars?password={password}",
        f"postgresql://me@db/bars?schema=a&sslpassword={password}",
    ):
        address = StoreAddress.parse(text)
        assert "Q" not in address.shown + repr(address) + f"{address}"
        assert "Q" in address.conninfo
        for secret in (password, password.replace("%25", "%")):
            assert "Q" not in address.redacted(f"wrong: {secret}.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://db", True),
        ("POSTGRES://db", True),
        ("postgresql:/db", True),
        ("postgresql", False),
        ("./postgresql:x", False),
        ("s3://bucket", False),
    ],
)
def test_what_is_meant_as_an_address(text: str, expected: bool) -> None:
    assert names_server(text) is expected


@pytest.mark.parametrize("given", ["", "?schema=desk", "?sslmode=require", "?schema=a%3Db&password=Q"])
def test_another_schema_of_the_same_database(given: str) -> None:
    address = StoreAddress.parse(f"postgresql://me:Q@db/bars{given}")
    other = address.with_schema("o&o")
    assert (other.schema, other.conninfo, other.secrets) == ("o&o", address.conninfo, ("Q",))
    again = StoreAddress.parse(other.shown)
    assert (again.schema, again.shown) == ("o&o", other.shown)
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        address.with_schema("x" * 64)
