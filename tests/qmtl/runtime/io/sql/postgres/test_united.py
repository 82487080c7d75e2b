"""Questions in one statement are answered as one by one, whatever columns each of them finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.dialect import Question, Telling, United
from qmtl.runtime.io.sql.postgres import united
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.opening import opened

# The columns of a table by the letters of their kinds, and what the rows hold.
COLUMNS = {"n": ["id", "over"], "i": ["size"], "t": ["name"], "b": ["data"], "?": ["size > 3"]}
ROWS, MANY = 40, 200_000


@pytest.fixture
def connection(postgres_url: str) -> Iterator[PostgresConnection]:
    with closing(opened(StoreAddress.parse(postgres_url))) as one:
        one.execute(
            "CREATE TEMP TABLE kept (id bigint PRIMARY KEY, size integer, over bigint, name text, data bytea)"
        )
        one.execute(
            "INSERT INTO kept SELECT n, nullif(n % 7, 2), nullif(n % 9, 4), nullif('name ' || n, 'name 5'),"
            " set_byte('abc', 0, n::integer) FROM generate_series(1, ?) AS n",
            (ROWS,),
        )
        yield one


@st.composite
def questions(draw: st.DrawFn) -> tuple[Question, str]:
    """A question with values in one of the three styles, or with none; and its kinds."""
    kinds = "".join(draw(st.lists(st.sampled_from("nnitb?"), min_size=1, max_size=6)))
    columns = ", ".join(draw(st.sampled_from(COLUMNS[kind])) for kind in kinds)
    low, high = sorted(draw(st.tuples(st.integers(0, ROWS), st.integers(0, ROWS))))
    where, values = draw(
        st.sampled_from(
            [
                ("", ()),
                (" WHERE id BETWEEN ? AND ?", (low, high)),
                (" WHERE id BETWEEN ?2 AND ?1 AND id < ?1", (high, low)),
                (" WHERE id < :high AND id >= :low AND :low > 0", {"low": low, "other": 1, "high": high}),
            ]
        )
    )
    order = draw(st.sampled_from(["id", "id DESC", "name, id", "size DESC, id LIMIT 3"]))
    return Question(f"SELECT {columns} FROM kept{where} ORDER BY {order}", values), kinds


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(some=st.lists(questions(), min_size=1, max_size=6))
def test_each_question_has_its_own_rows(
    connection: PostgresConnection, some: list[tuple[Question, str]]
) -> None:
    asked = United([one for one, _ in some], tuple(kinds for _, kinds in some))
    found = list(united.told(asked, connection._statements.made([united.statement_of(asked)])[0].fetchall()))
    assert found == [(one, connection.execute(*one).fetchall()) for one, _ in some]


def test_rows_come_in_their_order_where_workers_could_help(
    connection: PostgresConnection, postgres_url: str
) -> None:
    """A server that thinks that a worker costs nothing would let some make the parts, as they like."""
    connection.execute(f"CREATE SCHEMA {postgres_url.partition('schema=')[2]}")
    connection.execute(
        "CREATE TABLE many AS SELECT n::bigint AS id, md5(n::text) AS name"
        f" FROM generate_series(1, {MANY}) AS n"
    )
    connection.execute("CREATE INDEX ON many (id)")
    connection.execute("ANALYZE many")
    for name in ("setup_cost", "tuple_cost"):
        connection.execute(f"SET parallel_{name} = 0")
    for name in ("table", "index"):
        connection.execute(f"SET min_parallel_{name}_scan_size = 0")
    question = Question("SELECT id, name FROM many WHERE name > ? ORDER BY id", ("8",))
    asked = United([question, question, question], ("nt", "nt", "nt"))
    (found,) = connection._statements.made([united.statement_of(asked)])
    rows = found.fetchall()
    assert [number for number, *_ in rows] == sorted(number for number, *_ in rows)
    expected = connection.execute(*question).fetchall()
    assert [its for _, its in united.told(asked, rows)] == [expected] * 3


def test_a_question_may_tell_of_others_here_as_well(connection: PostgresConnection) -> None:
    names = Telling(
        "SELECT name, id FROM kept WHERE id <= ? ORDER BY id",
        (2,),
        lambda rows: [(Question("of one", (number,)), [(name,)]) for name, number in rows],
    )
    count = Question("SELECT count(*) FROM kept")
    asked = United([names, count], ("tn", "n"))
    assert list(
        united.told(asked, connection._statements.made([united.statement_of(asked)])[0].fetchall())
    ) == [
        (Question("of one", (1,)), [("name 1",)]),
        (Question("of one", (2,)), [("name 2",)]),
        (count, [(ROWS,)]),
    ]


@pytest.mark.parametrize("other", ["double precision", "numeric"])
def test_numbers_of_another_type_spoil_no_other_column(connection: PostgresConnection, other: str) -> None:
    """One type serves all that share a column: stamps would silently become floats."""
    connection.execute(f"ALTER TABLE kept ALTER over TYPE {other}")
    asked = United([Question("SELECT id FROM kept"), Question("SELECT over FROM kept")], ("n", "n"))
    rows: list[Any] = connection._statements.made([united.statement_of(asked)])[0].fetchall()
    with pytest.raises(TypeError, match="the columns of an answer have the types"):
        list(united.told(asked, rows))


def test_texts_among_numbers_are_an_error_of_the_server(connection: PostgresConnection) -> None:
    asked = United([Question("SELECT id FROM kept"), Question("SELECT name FROM kept")], ("n", "n"))
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        connection._statements.made([united.statement_of(asked)])[0].fetchall()
