"""Every operation of a store under each role of the server: what it may, and the words where it may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import psycopg
import pytest
from typer.testing import CliRunner

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.schema.governance.decisions import Decision, Observation
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.interfaces.cli.main import app
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.postgres import rights
from qmtl.runtime.io.sql.postgres.layout import TABLES
from qmtl.runtime.io.sql.postgres.rights import Right
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, STEP, minutes, some_bars
from qmtl.runtime.testing.store_suites.flags import some_judged
from tests.qmtl.postgres import PostgresServer

ALL = Span(0, 2_000 * STEP)
NEW = SeriesId.parse("ohlcv:suite:NEW:1m")
Admin = psycopg.Connection[Any]


@pytest.fixture
def admin(postgres_server: PostgresServer) -> Iterator[Admin]:
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(admin: Admin) -> Iterator[Callable[[], str]]:
    """New roles that may log in and have no right."""
    made: list[str] = []

    def make() -> str:
        made.append(f"role_{uuid4().hex}")
        admin.execute(f"CREATE ROLE {made[-1]} LOGIN")
        return made[-1]

    yield make
    for name in made:
        admin.execute(f"DROP OWNED BY {name} CASCADE")
        admin.execute(f"DROP ROLE {name}")


@pytest.fixture
def owner(admin: Admin, role: Callable[[], str]) -> str:
    """A role that may make schemas, and is nothing more."""
    name = role()
    admin.execute(f"GRANT CREATE ON DATABASE postgres TO {name}")
    return name


def as_user(url: str, user: str) -> str:
    return url.replace("//qmtl@", f"//{user}@")


def schema_of(url: str) -> str:
    return url.rpartition("=")[2]


def spoil(store: PostgresStore, admin: Admin) -> None:
    """Damage a chunk of OTHER and its single row, as no store does."""
    schema = store._address.schema
    admin.execute("SET session_replication_role = replica")  # without triggers
    admin.execute(
        f"UPDATE {schema}.blob SET data = 'x' WHERE chunk = (SELECT max(chunk.id) FROM {schema}.chunk"
        f" JOIN {schema}.series ON series.id = series WHERE node = '{OTHER}')"
    )
    admin.execute(f"UPDATE {schema}.hot SET data = 'x' WHERE ts = {1_500 * STEP}")


# By name, what a store can do; those that write, in an order in which each of them has something to do.
READS: dict[str, Callable[[PostgresStore], Any]] = {
    "read": lambda store: store.read(SERIES, ALL, flags_by=b"some rules      ").frame,
    "read_many": lambda store: store.read_many([SERIES, OTHER], ALL)[SERIES].frame,
    "read_if_current": lambda store: read_if_current(store, SERIES, ALL),
    "commits": lambda store: store.commits(SERIES),
    "diff": lambda store: store.diff(SERIES, store.commits(SERIES)[0].as_of, store.commits(SERIES)[-1].as_of),
    "deliveries": lambda store: store.deliveries(SERIES, ALL),
    "facts": lambda store: store.facts(SERIES),
    "quarantined": lambda store: store.quarantined(SERIES, ALL),
    "list_series": lambda store: store.list_series(),
    "verify": lambda store: store.verify().chunks,
    "pins": lambda store: store.pins(),
    "lost": lambda store: store.lost(SERIES),
    "glance": lambda store: (store.glance().problems, store.glance().lost),
    "newest": lambda store: store.newest(),
    "reports": lambda store: store.reports(),
    "newest_report": lambda store: store.newest_report(SERIES),
    "baseline_report": lambda store: store.baseline_report(SERIES),
    "accepted": lambda store: store.accepted(SERIES),
    "decisions": lambda store: store.decisions("bars"),
    "observed": lambda store: store.observed("bars"),
    "kept_flags": lambda store: store.kept_flags(SERIES),
    "has_changed": lambda store: store.has_changed(store.changed_since(None).token),
    "changed_since": lambda store: store.changed_since(None).horizon,
    "info": lambda store: store.info().rows,
}


def read_if_current(store: PostgresStore, *asked: Any) -> Any:
    snapshot = store.read_if_current(store.changed_since(None).token, *asked)
    return None if snapshot is None else snapshot.frame


def strange() -> pl.DataFrame:
    return some_bars(1_900, 1).with_columns(high=pl.lit(0.0), rule=pl.lit("high_is_highest"))


def first_bars(store: PostgresStore) -> Any:
    store.commit(SERIES, Write("v", 1, some_bars(0, 1_200), Coverage.of(minutes(0, 1_200))))
    store.commit(SERIES, Write("v", 2, some_bars(100, 300, price=7.0)))
    store.commit(SERIES, Write("v", 3, some_bars(1_300, 1), declared=SeriesFacts(anchor="clock")))
    return store.commit(SERIES, Write("v", 4, some_bars(1_300, 1, price=8.0), quarantine=strange())).added


def fenced(store: PostgresStore) -> Any:
    tokens = store.open_fence(SERIES, [0], "a claim")
    store.open_fence(SERIES, [0], "another claim")
    tokens = store.open_fence(SERIES, [0], "a claim")
    for price in (1.0, 2.0):
        bar = some_bars(1_400, 1, price=price)
        store.commit(SERIES, Write("v", 5, bar, fences=tokens, delivered_at={1_400 * STEP: 17}))
    return tokens


WRITES: dict[str, Callable[[PostgresStore], Any]] = {
    "commit": first_bars,
    "open_fence": fenced,
    "commit_many": lambda store: store.commit_many(
        {
            SERIES: Write("v", 6, some_bars(1_450, 1), Coverage.of(minutes(1_200, 1_451))),
            OTHER: Write("v", 6, some_bars(0, 1_200), Coverage.of(minutes(0, 1_200))),
            NEW: Write("v", 6, answered=EMPTY),
        }
    ),
    "retract": lambda store: store.retract(SERIES, minutes(10, 20), reason="a trial"),
    "declare": lambda store: [store.declare(SERIES, SeriesFacts(calendar=name)) for name in ("XNYS", "24x7")],
    "archive_report": lambda store: store.archive_report(SERIES, {"errors": 0, "warnings": 0}),
    "accept": lambda store: store.accept(SERIES, [Accepted("spike", 0, STEP, "00ff")]),
    "decide": lambda store: store.decide("bars", Decision(1, "promote", 2, "why not", "1:ab")),
    "observe": lambda store: [store.observe("bars", Observation(2, 3_600, 10, 1)) for _ in range(2)],
    "keep_flags": lambda store: [store.keep_flags([some_judged(store)]) for _ in range(2)],
    "pin": lambda store: store.pin("now"),
    "unpin": lambda store: store.unpin("now"),
    "compact": lambda store: store.compact(),
}
# What is no operation of the store: what it is, and how it is closed.
NEITHER = {
    *("location", "folder", "read_only", "store_id", "place_id", "shard_steps", "max_staleness"),
    *("reads_ahead", "close"),
}
# After damage: they are tried with a store of their own.
OTHERS = {"acknowledge", "grant", "server"}


def test_all_operations_are_tried() -> None:
    public = {name for name in dir(PostgresStore) if not name.startswith("_")}
    assert public == READS.keys() | WRITES.keys() | NEITHER | OTHERS


def fill(url: str) -> dict[str, str]:
    """A store with something of everything; what each read answers."""
    with PostgresStore(url) as store:
        for write in WRITES.values():
            write(store)
        store.pin("paper")
        return {name: repr(read(store)) for name, read in READS.items()}


def test_a_reader_reads_everything_and_writes_nothing(
    postgres_url: str, owner: str, role: Callable[[], str]
) -> None:
    reader = role()
    said = fill(as_user(postgres_url, owner))
    with PostgresStore(as_user(postgres_url, owner)) as store:
        store.grant(Right.reader, reader)
        before = store.newest(), store.reports(), store.pins()
    with PostgresStore(as_user(postgres_url, reader)) as store:
        assert store.read_only
        assert {name: repr(read(store)) for name, read in READS.items()} == said
        quiet = {"archive_report", "keep_flags"}  # beside an answer, which does not fail by them
        for name in ("archive_report", "keep_flags"):
            assert WRITES[name](store) in (None, [None, None])
        for name, write in WRITES.items():
            if name not in quiet:
                with pytest.raises(StoreError, match="cannot be written") as refused:
                    write(store)
                said_why = str(refused.value)
                assert f"{reader} has no right to write it: DELETE, INSERT, UPDATE on the table" in said_why
                assert "qmtl store grant writer" in said_why
        with pytest.raises(StoreError, match="cannot be written"):
            store.grant(Right.writer, reader)
    with PostgresStore(as_user(postgres_url, owner)) as store:
        assert (store.newest(), store.reports(), store.pins()) == before


def test_a_writer_writes_rows_and_no_layout(
    admin: Admin, postgres_url: str, owner: str, role: Callable[[], str]
) -> None:
    writer, schema = role(), schema_of(postgres_url)
    with PostgresStore(as_user(postgres_url, owner)) as store:
        store.grant(Right.writer, writer)
    assert fill(as_user(postgres_url, writer)).keys() == READS.keys()
    with PostgresStore(as_user(postgres_url, writer)) as store:
        assert not store.read_only
        spoil(store, admin)
        assert store.verify(repair=True).repaired
        assert store.acknowledge() >= 1
        assert store.verify().is_sound
        with pytest.raises(StoreError, match="only the owner of the store may do that") as refused:
            store.grant(Right.writer, owner)
        assert f"connect as {owner}" in str(refused.value)
    with psycopg.connect(as_user(postgres_url, writer).partition("?")[0], autocommit=True) as session:
        for table in TABLES:
            for statement in (
                f"DROP TABLE {schema}.{table}",
                f"ALTER TABLE {schema}.{table} ADD COLUMN more bigint",
                f"TRUNCATE {schema}.{table}",
                f"CREATE INDEX ON {schema}.{table} (crc)",
            ):
                if "crc" in statement and table == "blob":
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(statement)
        for statement in (
            f"CREATE TABLE {schema}.more (id bigint)",
            f"DROP SCHEMA {schema} CASCADE",
            f"ALTER SCHEMA {schema} RENAME TO other",
            f"UPDATE {schema}.identity SET store_id = 'another'",
            f"DELETE FROM {schema}.setting",
            f"UPDATE {schema}.tx SET committed_at = 0",
            f"DELETE FROM {schema}.report",
            f"DELETE FROM {schema}.schema_decision",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)


def test_a_writer_has_the_rights_that_are_used_and_no_other(
    admin: Admin, postgres_url: str, owner: str, role: Callable[[], str]
) -> None:
    """Triggers write down which statements are made on which table, rows or none."""
    writer, schema = role(), schema_of(postgres_url)
    url = as_user(postgres_url, writer)
    with PostgresStore(as_user(postgres_url, owner)) as store:
        store.grant(Right.writer, writer)
    admin.execute(
        f"CREATE TABLE public.{schema}_used (name text, verb text);"
        f"CREATE FUNCTION public.{schema}_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        f" AS $$ BEGIN INSERT INTO public.{schema}_used VALUES (TG_TABLE_NAME, TG_OP); RETURN NULL; END $$"
    )
    try:
        for table in TABLES:
            admin.execute(
                f"CREATE TRIGGER used BEFORE INSERT OR UPDATE OR DELETE ON {schema}.{table}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION public.{schema}_note()"
            )
        fill(url)
        with PostgresStore(url) as store:
            store.commit(OTHER, Write("v", 7, some_bars(1_500, 1)))
            spoil(store, admin)
            store.read(OTHER, ALL)  # and makes what is damaged unknown
            store.commit(OTHER, Write("v", 8, some_bars(0, 600), Coverage.of(minutes(0, 600))))
            store.acknowledge()
        with PostgresStore(url, retention=0) as store:
            assert store.unpin("paper")
            assert store.compact().swept
        found = admin.execute(f"SELECT DISTINCT name, verb FROM public.{schema}_used").fetchall()
    finally:
        admin.execute(f"DROP FUNCTION public.{schema}_note CASCADE; DROP TABLE public.{schema}_used")
    assert set(found) == {(table, verb) for table, verbs in rights._WRITES.items() for verb in verbs}


def test_without_any_right(postgres_url: str, owner: str, role: Callable[[], str]) -> None:
    nobody = role()
    with PostgresStore(as_user(postgres_url, owner)) as store:
        store.grant(Right.writer, nobody)
        PostgresStore(as_user(postgres_url, nobody)).close()
        store.grant(Right.reader, nobody)  # and no more than that
        with PostgresStore(as_user(postgres_url, nobody)) as reading:
            assert reading.read_only
        store.grant(Right.none, nobody)
    with pytest.raises(StoreError, match="has no right to read the store") as refused:
        PostgresStore(as_user(postgres_url, nobody))
    assert "USAGE on the schema is missing" in str(refused.value)
    assert f"qmtl store grant reader {nobody}" in str(refused.value)


@pytest.mark.parametrize(
    ("revoked", "missing", "reads"),
    [
        ("SELECT ON {}.hot", "SELECT on the table hot", False),
        ("SELECT ON {}.setting", "SELECT on the table setting", False),
        ("DELETE ON {}.pin", "DELETE on the table pin", True),
        ("UPDATE ON {}.chunk", "UPDATE on the table chunk", True),
    ],
)
def test_the_right_that_is_missing_is_named(
    admin: Admin,
    postgres_url: str,
    owner: str,
    role: Callable[[], str],
    revoked: str,
    missing: str,
    reads: bool,
) -> None:
    writer = role()
    with PostgresStore(as_user(postgres_url, owner)) as store:
        store.grant(Right.writer, writer)
    admin.execute(f"REVOKE {revoked.format(schema_of(postgres_url))} FROM {writer}")
    if not reads:
        with pytest.raises(StoreError, match=f"{missing} is missing"):
            PostgresStore(as_user(postgres_url, writer))
        return
    with PostgresStore(as_user(postgres_url, writer)) as store:
        assert store.list_series() == []
        with pytest.raises(StoreError, match=f"{missing} is missing"):
            store.pin("now")


def test_roles_of_one_store_know_nothing_of_another(
    new_schema: Callable[[], str], owner: str, role: Callable[[], str]
) -> None:
    writer, mine, theirs = role(), new_schema(), new_schema()
    with PostgresStore(as_user(theirs, owner)) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 5)))
    with PostgresStore(as_user(mine, owner)) as store:
        store.grant(Right.writer, writer)
    with PostgresStore(as_user(mine, writer)) as store:
        assert store.list_series() == []
    with pytest.raises(StoreError, match="has no right to read the store"):
        PostgresStore(as_user(theirs, writer))


def test_who_is_no_role_or_owns_the_store(postgres_url: str, owner: str) -> None:
    with PostgresStore(as_user(postgres_url, owner)) as store:
        with pytest.raises(InvalidRequestError, match='CREATE ROLE "no such role" LOGIN'):
            store.grant(Right.reader, "no such role")
        with pytest.raises(InvalidRequestError, match="owns the store"):
            store.grant(Right.none, owner)
        with store._database.reading() as connection:
            assert rights.holders(connection) == {}


def test_vacuum_by_a_writer_is_left_to_the_server(
    postgres_url: str, owner: str, role: Callable[[], str]
) -> None:
    writer = role()
    with PostgresStore(as_user(postgres_url, owner)) as store:
        store.grant(Right.writer, writer)
        assert store.compact().left == ""
        with store._database.reading() as connection:
            assert rights.holders(connection) == {writer: Right.writer}
    with PostgresStore(as_user(postgres_url, writer)) as store:
        store.commit(SERIES, Write("v", 1, some_bars(0, 5)))
        done = store.compact()
        assert "left to the server's autovacuum" in done.left
    shown = CliRunner().invoke(app, ["--store", as_user(postgres_url, writer), "store", "compact"])
    assert shown.exit_code == 0, shown.output
    assert "left to the server's autovacuum" in shown.output


def test_the_command(
    postgres_url: str, owner: str, role: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    reader, url = role(), as_user(postgres_url, owner)
    fill(url)
    shown = CliRunner().invoke(app, ["--store", url, "--json", "store", "grant", "reader", reader])
    assert shown.exit_code == 0, shown.output
    assert f"{reader} may read the store now" in shown.stderr
    found = json.loads(shown.stdout)
    assert (found["role"], found["right"]) == (reader, "reader")
    assert found["statements"] == rights.statements(schema_of(url), Right.reader, reader)
    for words in (
        ("store", "info"),
        ("store", "verify"),
        ("store", "pins"),
        ("reports", "list"),
        ("coverage", str(SERIES), "1970-01-01", "1970-01-01T00:20"),
        ("export", str(SERIES), "-o", str(tmp_path / "out.csv")),
        ("doctor",),
    ):
        shown = CliRunner().invoke(app, ["--store", as_user(postgres_url, reader), *words])
        assert shown.exit_code == 0, shown.output
    refused = CliRunner().invoke(app, ["--store", as_user(postgres_url, reader), "store", "compact"])
    assert refused.exit_code == 7
    assert f"{reader} has no right to write it" in refused.output
    writer = role()
    assert CliRunner().invoke(app, ["--store", url, "store", "grant", "writer", writer]).exit_code == 0
    (tmp_path / "x.csv").write_text("ts,open,high,low,close,volume\n2024-01-02,2,3,1,2,10\n")
    for words in (
        ("import", str(tmp_path / "x.csv"), "--series", "ohlcv:mine:GOLD:1d"),
        ("retract", "ohlcv:mine:GOLD:1d", "2024-01-02", "2024-01-03", "--reason", "a trial"),
        ("store", "pin", "mine"),
        ("store", "compact"),
        ("store", "verify"),
    ):
        shown = CliRunner().invoke(app, ["--store", as_user(postgres_url, writer), *words])
        assert shown.exit_code == 0, shown.output
    refused = CliRunner().invoke(app, ["--store", str(tmp_path / "bars"), "store", "grant", "reader", "me"])
    assert refused.exit_code == 2
    assert "is of stores on PostgreSQL" in refused.output
