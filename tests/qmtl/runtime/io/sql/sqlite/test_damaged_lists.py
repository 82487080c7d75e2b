"""Each row of each table is proven wholly, and `verify` names the list that a damaged one belongs to."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.schema.governance.decisions import Observation
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES, STEP
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars
from tests.qmtl.runtime.io.sql.sqlite.tampering import tamper

Use = Callable[[EmbeddedStore], Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with at least one row in each of its lists."""
    with EmbeddedStore(tmp_path / "store") as store:
        refused = some_bars(0, 1).with_columns(rule=pl.lit("high_is_highest"))
        fences = store.open_fence(SERIES, [0], "claim")
        asked = Coverage.of(minutes(0, 20))
        store.commit(SERIES, Write("v", 1, some_bars(0, 20), asked, fences=fences, quarantine=refused))
        store.commit(SERIES, Write("v", 1, some_bars(30, 1), EMPTY, delivered_at={30 * STEP: 31 * STEP}))
        store.retract(SERIES, minutes(5, 6), reason="a trial")
        store.archive_report(SERIES, {"errors": 0, "warnings": 0})
        store.accept(SERIES, [Accepted("temporal.silence", 0, STEP, "f")])
        store.observe("ohlcv", Observation(1, 0, 10, 0))
        store.pin("here")
        assert store.verify().is_sound
    return tmp_path / "store"


def commits(store: EmbeddedStore) -> object:
    return store.commits(SERIES)


def reports(store: EmbeddedStore) -> object:
    return store.reports(SERIES)


def quarantined(store: EmbeddedStore) -> object:
    return store.quarantined(SERIES, minutes(0, 20))


# What is damaged, how `verify` names it, and the read that refuses it.
DAMAGED: list[tuple[str, str, Use | None]] = [
    ("UPDATE tx SET writer = 'host:9' WHERE id = 1", "the list of commits", commits),
    ("UPDATE tx SET kind = 'declare' WHERE id = 1", "the list of commits", commits),
    ("UPDATE reason SET reason = 'another'", "the reasons of commits", commits),
    ("UPDATE pin SET name = 'there'", "the list of pins", EmbeddedStore.pins),
    ("UPDATE pin SET tx = 1", "the list of pins", EmbeddedStore.pins),
    ("UPDATE report SET archived_at = archived_at + 1", "the archive of reports", reports),
    ("UPDATE report SET report = replace(report, '0', '1')", "the archive of reports", reports),
    ("UPDATE accepted SET start = 60", "the list of acceptances", None),
    ("UPDATE quarantine SET high = high + 1", "the quarantine", quarantined),
    ("UPDATE quarantine SET source = 'x'", "the quarantine", quarantined),
    ("UPDATE setting SET value = 7 WHERE name = 'shard_steps'", "the settings of the store", None),
    ("UPDATE identity SET store_id = 'x'", "the id of the store", None),
    ("UPDATE delivery SET delivered_at = 5", "the times of delivery", None),
    ("UPDATE fence SET token = 9", "the fencing tokens", None),
    ("UPDATE schema_observation SET failed = 3", "the observations of schemas", None),
]


@pytest.mark.parametrize(("sql", "name", "use"), DAMAGED, ids=[sql[7:40] for sql, _, _ in DAMAGED])
def test_a_damaged_row_is_named(folder: Path, sql: str, name: str, use: Use | None) -> None:
    assert tamper(folder, sql) == 1
    with EmbeddedStore(folder) as store:
        problems = store.verify().problems
        assert len(problems) == 1
        assert name in problems[0]
        if use is not None:
            with pytest.raises(StoreCorruptError, match=f"{name} is damaged|list of commits is damaged"):
                use(store)


def test_a_damaged_acceptance_accepts_nothing(folder: Path) -> None:
    tamper(folder, "UPDATE accepted SET start = 60")
    with EmbeddedStore(folder) as store:
        assert store.accepted(SERIES) == []


def test_a_change_does_not_prove_what_was_damaged_before(folder: Path) -> None:
    tamper(folder, "UPDATE delivery SET delivered_at = 5")
    with EmbeddedStore(folder) as store:
        store.retract(SERIES, minutes(30, 31), reason="its delivery ends")
        assert any("the times of delivery" in problem for problem in store.verify().problems)


def test_every_table_but_the_bytes_of_chunks_is_proven(folder: Path) -> None:
    connection = sqlite3.connect(folder / "bars.sqlite")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    unproven = {
        name
        for name in tables
        if "crc" not in [column[1] for column in connection.execute(f"PRAGMA table_info({name})")]
    }
    connection.close()
    assert unproven == {"blob"}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE setting SET name = 'horizoo' WHERE name = 'horizon'",
        "UPDATE setting SET value = 1 WHERE name = 'horizon'",
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.read(SERIES, minutes(0, 20), as_of=store.newest().as_of),
        commits,
        EmbeddedStore.info,
        EmbeddedStore.compact,
        lambda store: store.diff(SERIES, 0, store.newest().as_of),
    ],
    ids=["as_of", "commits", "info", "compact", "diff"],
)
def test_a_damaged_horizon_is_refused(folder: Path, sql: str, use: Use) -> None:
    assert tamper(folder, sql) == 1
    with (
        EmbeddedStore(folder, retention=1) as store,
        pytest.raises(StoreCorruptError, match="the list of settings is damaged"),
    ):
        use(store)


@pytest.mark.parametrize("name", ["horizoo", None])
def test_compaction_that_keeps_all_reports_a_damaged_horizon_too(folder: Path, name: str | None) -> None:
    change = "SET value = 1" if name is None else f"SET name = '{name}'"
    assert tamper(folder, f"UPDATE setting {change} WHERE name = 'horizon'") == 1
    with (
        EmbeddedStore(folder) as store,
        pytest.raises(StoreCorruptError, match="the list of settings is damaged"),
    ):
        store.compact()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_that_does_not_say_how_shards_are_cut_is_refused(folder: Path, read_only: bool) -> None:
    assert tamper(folder, "DELETE FROM setting WHERE name = 'shard_steps'") == 1
    with pytest.raises(StoreCorruptError, match="the size of the shards is gone"):
        EmbeddedStore(folder, read_only=read_only)


def test_a_store_without_its_id_is_refused(folder: Path) -> None:
    tamper(folder, "DELETE FROM identity")
    with pytest.raises(StoreCorruptError, match="the id of the store is gone"):
        EmbeddedStore(folder)
