"""One statement for many values does what a statement for each of them does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.arrays import bigints
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.opening import opened
from qmtl.runtime.io.sql.postgres.sets import changed_by_each, found_by_each

TABLE = (
    "CREATE TEMP TABLE kept (id bigint PRIMARY KEY, ts bigint, price double precision, name text, data bytea)"
)
INSERT = "INSERT INTO kept (id, ts, price, name, data) VALUES (?1, ?2, ?3, ?4, ?5)"
EVERYTHING = "SELECT id, ts, price, name, data FROM kept ORDER BY id"


@pytest.fixture
def connection(postgres_url: str) -> Iterator[PostgresConnection]:
    with closing(opened(StoreAddress.parse(postgres_url))) as one:
        one.execute(TABLE)
        yield one


def optional(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | some


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
numbers = st.integers(-(2**63), 2**63 - 1)
rows = st.lists(
    st.tuples(
        optional(numbers), optional(st.floats()), optional(texts | st.just('"{}\\')), optional(st.binary())
    ),
    min_size=1,
    max_size=6,
)
anew = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@anew
@given(rows, rows)
def test_rows_are_written_as_one_by_one(
    connection: PostgresConnection, first: list[Any], then: list[Any]
) -> None:
    assert changes(connection, first, then, at_once=True) == changes(connection, first, then, at_once=False)


def changes(
    connection: PostgresConnection, first: list[Any], then: list[Any], *, at_once: bool
) -> tuple[list[int], list[str]]:
    """How many rows each kind of statement has changed, and what was there after it."""
    steps: list[tuple[str, list[tuple[Any, ...]]]] = [
        (INSERT, [(number, *row) for number, row in enumerate(first)]),
        (f"{INSERT} ON CONFLICT DO NOTHING", [(number, *row) for number, row in enumerate(then)]),
        (
            f"{INSERT} ON CONFLICT (id) DO UPDATE SET name = excluded.name, ts = kept.ts",
            [(number + 1, *row) for number, row in enumerate(then)],
        ),
        ("UPDATE kept SET ts = ?2, data = ?3 WHERE id = ?1", [(n, r[0], r[3]) for n, r in enumerate(then)]),
        ("UPDATE kept SET price = price + ?, name = NULL WHERE id = ?", [(2, n) for n in range(len(then))]),
        ("DELETE FROM kept WHERE id >= ? AND ts > ?", [(n + 3, r[0]) for n, r in enumerate(then)]),
    ]
    counts, seen = [], []
    connection.execute("DELETE FROM kept")
    for sql, values in steps:
        if at_once:
            counts.append(connection.executemany(sql, values).rowcount)
        else:
            counts.append(sum(connection.execute(sql, one).rowcount for one in values))
        seen.append(repr(connection.execute(EVERYTHING).fetchall()))
    return counts, seen


@anew
@given(rows, st.lists(st.tuples(st.integers(0, 5), numbers, optional(texts)), max_size=6))
def test_rows_are_found_as_one_by_one(
    connection: PostgresConnection, there: list[Any], wanted: list[Any]
) -> None:
    connection.execute("DELETE FROM kept")
    connection.executemany(INSERT, [(number, *row) for number, row in enumerate(there)])
    sql = (
        "SELECT id, data, 1 = 1, 1 = 1 FROM kept WHERE id >= :low AND (ts < :high OR name = :name)"
        " ORDER BY id DESC LIMIT 3"
    )
    values = [{"name": name, "low": low, "high": high, "unused": 1} for low, high, name in wanted]
    alone = [connection.execute(sql, one).fetchall() for one in values]
    assert [list(rows) for rows in connection.each(sql, values)] == alone


def test_what_many_values_have_in_common_is_sent_once() -> None:
    text, values = found_by_each("SELECT 1 FROM hot WHERE series = ? AND ts = ?", [(1, 7), (2, 7)])
    assert values == [bigints([1, 2]), 7, 2]
    assert "series = given.v1 AND ts = $2::bigint" in text


def test_more_values_than_a_statement_has_room_for(connection: PostgresConnection) -> None:
    many = 70_000  # PostgreSQL takes 65,535 at once
    inserted = connection.executemany(INSERT, ((n, n, None, "x", b"") for n in range(many)))
    assert inserted.rowcount == many
    found = list(connection.each("SELECT ts FROM kept WHERE id = ?", [(n,) for n in range(many)]))
    assert found[-1] == [(many - 1,)]
    assert len(found) == many


def test_a_statement_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="many values"):
        changed_by_each("SELECT set_config('a', ?, true)", [("x",), ("y",)])


def test_a_number_with_a_rest_is_not_cut() -> None:
    with pytest.raises(TypeError):
        changed_by_each(INSERT, [(1, 1, None, None, None), (2, 1.5, None, None, None)])


def test_the_conditions_of_a_change_are_tables_even_where_all_values_are_alike() -> None:
    """A planner takes a constant for rare: it would compare each of a thousand rows with each value."""
    values = [(1, number, 5) for number in range(3)]
    text = changed_by_each("UPDATE kept SET price = ? WHERE id = ? AND ts = ?", values).text
    assert text.endswith("WHERE id = given.v2 AND ts = given.v3")
    assert "$" not in text.partition(" WHERE ")[2]
