"""Child processes for the tests of this folder: forked from one that has imported everything already.

Run as a script. Reads lines `TASK ARGUMENTS...` from stdin, forks a child for each, and says on stdout
`started PID`, what the child says, and `ended PID STATUS`. The script itself never opens a store, except for
the task that is about forking.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from qmtl.foundation.errors import StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.sql import copied_tables, packed_copies, plans, rewrite_plan, transaction
from qmtl.runtime.io.sql.sqlite import layout
from qmtl.runtime.io.sql.sqlite.backup import backup
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.sdk.store_migration import migrate_store
from qmtl.runtime.testing.store_model import SERIES, STEP, make_frame
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

# Some children limit the size of files: bytecode would be cut too, and break the next import of that module.
sys.dont_write_bytecode = True

SHARED = SeriesId.parse("ohlcv:many:SHARED:1m")
PAGES = 12
PAGE = 600
# Of a copy that is to be killed.
ROWS_AT_ONCE, ENTRIES = 40, 4
# Of a migration: what a format 7 might have added to stores on PostgreSQL; and what does not end.
STEP_7 = (
    "CREATE TABLE kept_flags (series bigint NOT NULL, stretch bigint NOT NULL, rules bytea NOT NULL,"
    ' start bigint NOT NULL, "end" bigint NOT NULL, reach_start bigint NOT NULL, reach_end bigint NOT NULL,'
    " flags bytea NOT NULL, crc integer, PRIMARY KEY (series, stretch, rules))"
)
FOR_EVER = (
    "CREATE TEMP TABLE numbers AS WITH RECURSIVE number (n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM number) SELECT count(*) FROM number;"
)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def shrink_chunks() -> None:
    """With small chunks, a few rows meet every way in which chunks are cut, joined and folded."""
    rewrite_plan.FULL, rewrite_plan.SMALL = 64, 32
    plans.FEW, transaction.MANY_HOT, transaction._COUNT_EVERY = 16, 40, 4


def operation(seed: int, number: int) -> Write | SeriesFacts | Span | None:
    """What the writer does in its step `number`: a span is retracted, None stands for a compaction."""
    dice = random.Random(f"{seed} {number}")
    kind = dice.choice(
        ["append", "append", "page", "correct", "forget", "retract", "say", "compact", "declare"]
    )
    if kind == "compact":
        return None
    if kind == "declare":
        return SeriesFacts(calendar=f"C{seed}-{number}")
    count = {"append": 1, "page": 100, "correct": 5}.get(kind, 0)
    first = dice.randrange(0, 900)
    if kind == "retract":
        return minutes(first, first + dice.choice([1, 30, 300]))
    price = float(seed * 10_000 + number + 1)
    rows = {(first + i) * STEP: (price + i, *(price,) * 4) for i in range(count)}
    span = Coverage.of(minutes(first, first + max(count, 30)))
    return Write(
        source="ab"[dice.randrange(2)],
        checked_at=seed * 10_000 + number,
        frame=make_frame(rows),
        answered=EMPTY if kind == "forget" else span,
        absent=Coverage.of(minutes(first + 3, first + 9)) if kind == "say" else EMPTY,
        absent_until=7,
        retracted=span if kind == "forget" else EMPTY,
    )


def opened(place: str, **options: Any) -> KeptStore:
    """The store of a folder or of an address."""
    if place.startswith("postgresql:"):
        from qmtl.runtime.io.sql.postgres.store import PostgresStore

        return PostgresStore(place, **options)
    if place.startswith("questdb:"):
        from qmtl.runtime.sdk.stores import questdb_store

        return questdb_store(place, **options)
    return EmbeddedStore(place, **options)


def write_until_killed(place: str, seed: str) -> None:
    shrink_chunks()
    store = opened(place)
    say("ready")
    for number in range(10_000):
        step = operation(int(seed), number)
        if step is None:
            store.compact()
        elif isinstance(step, SeriesFacts):
            store.declare(SERIES, step)
        elif isinstance(step, Span):
            store.retract(SERIES, step, reason="a trial")
        else:
            store.commit(SERIES, step)
        say(f"ack {number} {store.newest().tx}")


def write_pages(place: str, worker: str) -> None:
    """Pages of one's own among those of others on one series, and a series for oneself."""
    store = opened(place)
    mine = SeriesId.parse(f"ohlcv:many:W{worker}:1m")
    for page in range(PAGES):
        first = (page * 4 + int(worker)) * PAGE
        frame = some_bars(first, PAGE)
        span = minutes(first, first + PAGE)
        commit = store.commit(SHARED, Write("v", 1, frame, Coverage.of(span)))
        assert commit.added == PAGE, commit
        assert store.read(SHARED, span, as_of=commit.as_of).frame.equals(frame)
        assert store.read(SHARED, span).answered.contains(span)
        store.commit(mine, Write("v", 1, some_bars(page, 1)))
    store.close()


def compact_and_read(place: str) -> None:
    store = opened(place)
    last = 0
    for _ in range(15):
        store.compact()
        snapshot = store.read(SHARED, minutes(0, 100_000))
        assert snapshot.tx >= last
        last = snapshot.tx
        stamps = snapshot.frame["ts"].to_physical().to_numpy()
        assert len(stamps) % PAGE == 0, "half a commit is visible"
        assert (np.diff(stamps) > 0).all()
    store.close()


def open_and_close(place: str) -> None:
    opened(place).close()


def append_bars(place: str, worker: str) -> None:
    """Single bars, those of four workers in turn."""
    store = opened(place)
    for number in range(400):
        bar = number * 4 + int(worker)
        store.commit(SHARED, Write("v", 1, some_bars(bar, 1), Coverage.of(minutes(bar, bar + 1))))
    store.close()


def fill_the_disk(folder: str) -> None:
    store = EmbeddedStore(folder)
    before = store.commit(SERIES, Write("v", 1, some_bars(0, 1_000)))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    noise = np.random.default_rng(0).normal(size=200_000).cumsum()
    big = some_bars(0, 200_000).with_columns(close=pl.Series(noise))
    try:
        store.commit(SERIES, Write("v", 1, big, Coverage.of(minutes(0, 200_000))))
    except StoreError as failure:
        say(f"refused {type(failure).__name__} {failure.next_step}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    snapshot = store.read(SERIES, minutes(0, 200_000))
    assert (snapshot.tx, snapshot.frame.height, list(snapshot.answers)) == (before.tx, 1_000, [])
    assert store.verify().is_sound
    store.commit(SERIES, Write("v", 1, big))
    assert store.read(SERIES, minutes(0, 200_000)).frame.height == 200_000
    store.close()


def fork_with_an_open_store(place: str) -> None:
    """Parent and child both go on with the store that was open when they parted."""
    store = opened(place)
    store.commit(SERIES, Write("v", 1, some_bars(0, 5)))
    store.changed_since(None)
    parent_closed, tell = os.pipe()
    child = os.fork()
    at = 100 if child else 1_000
    for number in range(50):
        token = store.changed_since(None).token
        store.commit(SERIES, Write("v", 1, some_bars(at + number, 1)))
        assert store.changed_since(token).commits
        assert store.read(SERIES, Span(0, 5 * STEP)).frame.equals(some_bars(0, 5))
    if not child:
        # The last to close a file takes its log away; a child with locks of its own keeps it from that.
        os.read(parent_closed, 1)
        store.commit(SERIES, Write("v", 1, some_bars(2_000, 1)))
        os._exit(0)
    store.close()
    os.write(tell, b".")
    _, status = os.waitpid(child, 0)
    assert status == 0


def read_without_rights(folder: str) -> None:
    """As a user who may read the directory, and no more."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65_534)
        os.setuid(65_534)
    store = EmbeddedStore(folder)
    say(f"read {store.read(SERIES, minutes(0, 100)).frame.height} {store.read_only}")
    assert not store.has_changed(store.changed_since(None).token)
    try:
        store.commit(SERIES, Write("v", 1, some_bars(0, 1)))
    except StoreError as failure:
        say(f"refused {failure.next_step}")
    assert store.archive_report(SERIES, {}) is None
    store.close()


def back_up_on_a_full_disk(folder: str, target: str) -> None:
    with EmbeddedStore(folder) as store:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        try:
            backup(store, Path(target))
        except StoreError as failure:
            say(" ".join(str(failure).split()))


def back_up_for_ever(folder: str, beside: str) -> None:
    with EmbeddedStore(folder) as store:
        say("ready")
        for number in range(10_000):
            backup(store, Path(beside) / f"copy {number}")
            say("copied")


def copy_slowly(source: str, target: str) -> None:
    copied_tables.AT_ONCE, packed_copies.ENTRIES = ROWS_AT_ONCE, ENTRIES

    def tell(what: str, done: int, total: int) -> None:
        say(f"{what} {done} {total}")
        time.sleep(0.05)  # to be killed before it has gone on

    say("ready")
    copy_store(source, target, progress=tell)
    say("copied")


def copy_on_a_full_disk(folder: str, target: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        copy_store(folder, target)
    except StoreError as failure:
        say(" ".join(str(failure).split()))


def compact_on_a_full_disk(folder: str) -> None:
    with EmbeddedStore(folder) as store:
        for first in range(0, 4_000, 1_000):
            store.commit(SERIES, Write("v", 1, some_bars(first, 1_000)))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (Path(folder, "bars.sqlite-wal").stat().st_size, hard))
        try:
            store.compact()
        except StoreError as failure:
            say(" ".join(str(failure).split()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert store.read(SERIES, minutes(0, 9_000)).frame.height == 4_000
        assert store.compact().windows


def hold_open(folder: str) -> None:
    with EmbeddedStore(folder):
        say("ready")
        while not (Path(folder).parent / "let go").exists():
            time.sleep(0.01)


def migrate(place: str) -> None:
    done = migrate_store(place)
    say(f"{done.before} {done.after}")


def migrate_for_ever(place: str) -> None:
    """Do the steps of a migration, and never come to its end."""
    if place.startswith("postgresql:"):
        from qmtl.runtime.io.sql.postgres import layout as tables
        from qmtl.runtime.io.sql.postgres import opening

        opening._LOOKS_EVERY = "0"  # never
        tables.STEPS = {7: f"{STEP_7}; SELECT pg_sleep(600)"}
    else:
        layout.STEPS = {**layout.STEPS, 8: FOR_EVER}
    say("ready")
    threading.Thread(target=say_when_in_the_middle, args=(place,), daemon=True).start()
    migrate_store(place)


def say_when_in_the_middle(place: str) -> None:
    """Of a migration: look from outside."""
    while not (is_asleep if place.startswith("postgresql:") else is_locked)(place):
        time.sleep(0.02)
    say("in the middle")


def is_asleep(url: str) -> bool:
    import psycopg

    with psycopg.connect(url.partition("?")[0]) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = %s",
            (f"qmtl {socket.gethostname()}:{os.getpid()}",),
        ).fetchone()
        return found == (1,)


def is_locked(folder: str) -> bool:
    with closing(sqlite3.connect(Path(folder, layout.DATABASE), timeout=0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def migrate_from_6(place: str) -> None:
    """A server's store of the format before the first one: by a step that the tests have made up."""
    from qmtl.runtime.io.sql.postgres import layout as tables

    tables.STEPS = {7: STEP_7}
    migrate(place)


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task
    for task in (
        write_until_killed,
        write_pages,
        compact_and_read,
        open_and_close,
        append_bars,
        fill_the_disk,
        fork_with_an_open_store,
        read_without_rights,
        back_up_on_a_full_disk,
        back_up_for_ever,
        copy_slowly,
        copy_on_a_full_disk,
        compact_on_a_full_disk,
        hold_open,
        migrate,
        migrate_for_ever,
        migrate_from_6,
    )
}


def main() -> None:
    children: set[int] = set()
    say("serving")
    for line in sys.stdin:
        count, *arguments = line.split("\t")
        for part in "\t".join(arguments).rstrip("\n").split("\v")[: int(count)]:
            task, *rest = part.split("\t")
            child = os.fork()
            if not child:
                say(f"started {os.getpid()}")
                status = 1
                try:
                    TASKS[task](*rest)
                    status = 0
                except BaseException:  # noqa: BLE001  # reported to the test, and by the exit status
                    traceback.print_exc()
                finally:
                    os._exit(status)
            children.add(child)
        while children:
            pid, status = os.wait()
            children.discard(pid)
            say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")
        say("done")


if __name__ == "__main__":
    main()
