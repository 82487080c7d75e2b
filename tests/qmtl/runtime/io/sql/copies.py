"""Stores to be copied, and what is compared of them, for the tests of copies."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.schema.governance.decisions import Decision, Observation
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.commits import add_series
from qmtl.runtime.io.sql.copied_tables import TABLES, columns_of, insertion
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_model import SERIES, STEP
from qmtl.runtime.testing.store_suites.bars import OTHER, some_bars

EVERYTHING = Span(-(10**18), 10**18)
FOLDER, SERVER = "folder", "server"
ON_A_SERVER = pytest.mark.service


def live(script: ModuleType, store: KeptStore, seed: int) -> None:
    """A random history, damage and all; and something in every table."""
    with store._database.writing() as connection:
        add_series(connection, OTHER)  # and undone: no number is lost by that
    for number in range(60):
        step = script.operation(seed, number)
        if step is None:
            store.compact()
        elif isinstance(step, SeriesFacts):
            store.declare(SERIES, step)
        elif isinstance(step, Span):
            store.retract(SERIES, step, reason="a trial: £")
        else:
            store.commit(SERIES, step)
        if number in (20, 40):
            store.pin(f"step {number}")
            store.archive_report(SERIES, {"errors": 0, "warnings": number, "note": "ü"})
    strange = some_bars(2_000, 2).with_columns(high=pl.lit(float("nan")), rule=pl.lit("high_is_highest"))
    token = store.open_fence(OTHER, [0, 1], "a claim")[0]
    store.commit(
        OTHER,
        Write(
            "v",
            1,
            some_bars(0, 1),
            quarantine=strange.with_columns(volume=pl.lit(None, dtype=pl.Float64)),
            fences={0: token},
            delivered_at={0: 17},
        ),
    )
    store.accept(OTHER, [Accepted("spike", 0, STEP, "00ff"), Accepted("spike", STEP, 2 * STEP, "00fe")])
    store.decide("bars", Decision(1, "promote", 2, "why not", "1:ab"))
    store.observe("bars", Observation(2, 3_600, 10, 1))
    with store._database.writing() as connection:
        (chunk,) = connection.execute("SELECT min(id) FROM chunk").fetchone()
        connection.execute("UPDATE blob SET data = ? WHERE chunk = ?", (b"spoilt", chunk))
        for table, row in {
            "kept_flags": (1, 2, b"\0rules", 3, 4, 5, 6, b"\xffflags"),
            "stream_session": ("a session", 1, 2, None, 3, 4),
        }.items():
            connection.execute(insertion(connection, table), row)
        connection.execute("COMMIT")
    store.verify(repair=True)


def but_for_the_doubt(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """What a restore leaves as it was: it says that commits may be missing, and lets tokens rise."""
    rows = [row for row in found["tx"] if "lost tail" not in row]
    return {**found, "tx": rows, "fence": [str(len(found["fence"]))]}


def contents(store: KeptStore) -> dict[str, list[Any]]:
    """All tables, row for row; without what each engine keeps for itself."""
    found = {}
    with store._database.reading() as connection:
        for table in TABLES:
            rows = connection.execute(f"SELECT {', '.join(columns_of(table))} FROM {table}").fetchall()
            found[table] = [tuple(map(connection.dialect.to_float, row)) for row in rows]
        # Bytes that a repair has left where they were belong to nobody.
        found["blob"] = connection.execute(
            "SELECT chunk, data FROM blob WHERE chunk IN (SELECT id FROM chunk)"
        ).fetchall()
    found["setting"] = [row for row in found["setting"] if row[0] in ("horizon", "shard_steps")]
    return {table: sorted(map(repr, rows)) for table, rows in found.items()}


def answers(store: KeptStore) -> Any:
    """What it says as of each commit that it knows, and of all that it keeps beside bars."""
    each = {one.series: store.commits(one.series) for one in store.list_series()}
    points = [pin.as_of for pin in store.pins()]
    reads = [
        (
            store.read(series, EVERYTHING, as_of=at),
            store.facts(series, as_of=at),
            store.deliveries(series, EVERYTHING, as_of=at),
        )
        for series, commits in each.items()
        for at in [*(one.as_of for one in commits), *points]
    ]
    said = [
        (read.tx, read.frame.rows(), list(read.answers), read.damaged, facts, delivered.rows())
        for read, facts, delivered in reads
    ]
    beside = [
        (
            store.accepted(series),
            store.baseline_report(series),
            repr(store.quarantined(series, EVERYTHING).rows()),
        )
        for series in each
    ]
    lost = [store.lost(series) for series in each]
    governance = store.decisions("bars"), store.observed("bars")
    return said, each, beside, lost, governance, store.reports(), store.pins(), store.newest(), store.store_id


def is_store(place: str) -> bool:
    """Whether there is anything at a place that can be opened."""
    if not place.startswith("postgresql:"):
        return (Path(place) / DATABASE).exists()
    import psycopg

    with psycopg.connect(re.sub(r"\?.*", "", place)) as connection:
        schema = place.rpartition("=")[2]
        return connection.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() != (None,)


def names(folder: Path) -> list[str]:
    """What lies in a stored, but for what SQLite keeps beside a file that was opened to be read."""
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(("-shm", "-wal")))


def interrupt(when: str) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if what == when:
            raise KeyboardInterrupt

    return progress
