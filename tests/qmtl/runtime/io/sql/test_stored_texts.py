"""A text that nobody of ours has written is damage with its facts, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.schema.governance.decisions import Decision
from qmtl.runtime.io.sql.stored_texts import read_text
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars

GARBAGE = ["", "garbage", "[1]", "null", '{"said": {"anchor": "nowhere"}}', '{"said": 7}', '{"a": 1}']


def test_what_was_written_is_read() -> None:
    assert read_text('{"a": 1}', "it", dict) == {"a": 1}


def test_a_long_text_is_not_shown_as_a_whole() -> None:
    with pytest.raises(StoreCorruptError, match="it cannot be read") as refused:
        read_text("x" * 1_000, "it", dict)
    assert len(refused.value.why or "") < 200
    assert refused.value.next_step


def edited(store: KeptStore, table: str, column: str, text: str) -> None:
    """Edit a row so that its checksum matches, where it has one."""
    with store._database.writing() as connection:
        connection.execute(f"UPDATE {table} SET {column} = ?", (text,))
        connection.execute(f"UPDATE {table} SET crc = {connection.dialect.proofs[table]}")
        connection.execute("COMMIT")


@pytest.mark.parametrize("text", GARBAGE)
def test_declared_facts(new_store: Callable[..., KeptStore], text: str) -> None:
    store = new_store()
    store.commit(SERIES, Write("v", 1, some_bars(0, 3)))
    store.declare(SERIES, SeriesFacts(calendar="XNYS"))
    edited(store, "facts", "facts", text)
    with pytest.raises(StoreCorruptError, match="what is declared of the series cannot be read"):
        store.facts(SERIES)


@pytest.mark.parametrize("text", GARBAGE[:4])
def test_reports(new_store: Callable[..., KeptStore], text: str) -> None:
    store = new_store()
    store.archive_report(SERIES, {"errors": 0, "warnings": 0})
    edited(store, "report", "report", text)
    asks: list[Callable[[], Any]] = [store.reports, lambda: store.newest_report(SERIES)]
    for ask in asks:
        with pytest.raises(StoreCorruptError, match="a report of the archive cannot be read"):
            ask()


@pytest.mark.parametrize("text", GARBAGE)
def test_decisions_on_schemas(new_store: Callable[..., KeptStore], text: str) -> None:
    store = new_store()
    store.decide("bars", Decision(1, "promote", 2, "why not", "1:ab"))
    edited(store, "schema_decision", "decision", text)
    with pytest.raises(StoreCorruptError, match="a decision on the schema 'bars' cannot be read"):
        store.decisions("bars")
