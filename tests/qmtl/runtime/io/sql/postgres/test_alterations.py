"""Tables that somebody has altered are named, in an error with facts; an index, with what makes it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.postgres.alterations import altered_columns, lost_indexes
from qmtl.runtime.io.sql.postgres.layout import TABLES
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars
from tests.qmtl.postgres import PostgresServer

ALL = minutes(0, 3_005)
BARS = Write("v", 1, some_bars(0, 3_000), Coverage.of(minutes(0, 3_000)))
SINGLE = Write("v", 1, some_bars(3_000, 3), Coverage.of(minutes(3_000, 3_003)))


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, BARS)
        store.commit(SERIES, SINGLE)
        store.read(SERIES, ALL)
        yield store


@pytest.fixture
def owner(
    postgres_server: PostgresServer, postgres_url: str, store: PostgresStore
) -> Iterator[psycopg.Connection[Any]]:
    """A session in the schema of the store, which is there."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"SET search_path = {postgres_url.partition('schema=')[2]}")
        yield connection


def test_a_store_as_it_was_made_has_no_alterations(store: PostgresStore) -> None:
    with store._database.reading() as connection:
        assert [*altered_columns(connection), *lost_indexes(connection)] == []


ALTERATIONS = [
    ("hot ALTER data TYPE text USING encode(data, 'hex')", "hot.data is of the type text, and was bytea"),
    ("blob ALTER data TYPE text USING encode(data, 'hex')", "blob.data is of the type text, and was bytea"),
    ("chunk ALTER checksum TYPE text USING 'x'", "chunk.checksum is of the type text, and was bytea"),
    ("chunk ALTER last_ts TYPE text", "chunk.last_ts is of the type text, and was bigint"),
    ("chunk ALTER rows TYPE double precision", "chunk.rows is of the type double precision, and was integer"),
    ("answer ALTER checked_at TYPE text", "answer.checked_at is of the type text, and was bigint"),
    ('answer ALTER "end" TYPE numeric', "answer.end is of the type numeric, and was bigint"),
    ("tx ALTER committed_at TYPE numeric", "tx.committed_at is of the type numeric, and was bigint"),
    ("series ALTER node TYPE bytea USING node::bytea", "series.node is of the type bytea, and was text"),
    ("pin ALTER tx TYPE text", "pin.tx is of the type text, and was bigint"),
    ("answer DROP said", "the column answer.said is gone"),
    ("answer ALTER source DROP NOT NULL", "answer.source may be null, and might not"),
]


@pytest.mark.parametrize(("change", "says"), ALTERATIONS)
def test_a_store_with_an_altered_column_is_not_opened(
    owner: psycopg.Connection[Any], postgres_url: str, change: str, says: str
) -> None:
    owner.execute(f"ALTER TABLE {change}")
    with pytest.raises(StoreCorruptError, match="the layout of the store is damaged") as refused:
        PostgresStore(postgres_url)
    assert says in (refused.value.why or "")
    assert refused.value.path
    assert refused.value.next_step


@pytest.mark.parametrize(("change", "says"), ALTERATIONS)
def test_what_is_altered_while_a_store_is_open_is_no_error_of_python(
    owner: psycopg.Connection[Any], store: PostgresStore, change: str, says: str
) -> None:
    owner.execute(f"ALTER TABLE {change}")
    more = Write("v", 1, some_bars(3_003, 1), Coverage.of(minutes(3_003, 3_004)))
    uses = (lambda: store.read(SERIES, ALL), lambda: store.commit(SERIES, more), store.info, store.verify)
    for use in uses:
        with suppress(StoreCorruptError):
            use()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_named(owner: psycopg.Connection[Any], postgres_url: str, table: str) -> None:
    owner.execute(f"DROP TABLE {table}")
    with pytest.raises(StoreCorruptError) as refused:
        PostgresStore(postgres_url)
    if table not in ("setting", "identity", "tx"):  # by which a store is told from another program
        assert refused.value.why == f"the table {table} is gone"


def test_columns_that_were_added_do_no_harm(owner: psycopg.Connection[Any], postgres_url: str) -> None:
    owner.execute("ALTER TABLE answer ADD remark text")
    with PostgresStore(postgres_url) as other:
        assert other.read(SERIES, ALL).count == 3_003
        assert other.verify().is_sound


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        ("DROP INDEX chunk_order", 'CREATE INDEX chunk_order ON chunk ("series", "tx_to", "last_ts")'),
        ("ALTER TABLE blob DROP CONSTRAINT blob_pkey", 'ALTER TABLE blob ADD PRIMARY KEY ("chunk")'),
        ("ALTER TABLE series DROP CONSTRAINT series_node_key", 'ALTER TABLE series ADD UNIQUE ("node")'),
        (
            "ALTER TABLE answer DROP CONSTRAINT answer_pkey",
            'ALTER TABLE answer ADD PRIMARY KEY ("series", "tx_to", "end", "start", "tx_from")',
        ),
    ],
)
def test_verify_names_an_index_that_is_gone_and_what_makes_it_again(
    owner: psycopg.Connection[Any], store: PostgresStore, change: str, statement: str
) -> None:
    owner.execute(change)
    (problem,) = store.verify().problems
    assert problem.endswith(f"its owner makes it again: {statement}")
    assert store.read(SERIES, ALL).count == 3_003
    owner.execute(statement)
    assert store.verify().is_sound


def test_an_index_of_another_name_will_do(owner: psycopg.Connection[Any], store: PostgresStore) -> None:
    owner.execute("ALTER INDEX chunk_order RENAME TO in_order")
    assert store.verify().is_sound
