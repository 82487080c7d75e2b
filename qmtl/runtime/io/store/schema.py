"""The format on disk: its tables, its marks, and how a file is recognised as ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from qmtl.foundation.errors import StoreCorruptError, StoreError

FORMAT = 3
# An older qmtl would sweep away what a pin holds, so that it must not open such a store.
FORMAT_WITH_PINS = 2
FORMAT_WITH_REASONS = 3
APPLICATION_ID = 0x716D746C  # "qmtl"
DATABASE = "bars.sqlite"
LOCK = "bars.lock"

# Requests that overlap must claim the same shards, so the grid is counted from the epoch and never changes.
SHARD_STEPS = 10_000

# The end of what still holds: versions are valid at commit T if tx_from <= T < tx_to.
LIVE = 2**63 - 1

# What format 2 added to format 1. shard_steps: how many grid steps make one shard of a backfill; processes
# that use one store must cut alike. pin: commits that a sweep leaves readable, by their time.
_SINCE_2 = f"""
INSERT INTO setting VALUES ('shard_steps', {SHARD_STEPS});
CREATE TABLE pin (
    name TEXT PRIMARY KEY, tx INTEGER NOT NULL, as_of INTEGER NOT NULL, pinned_at INTEGER NOT NULL
) WITHOUT ROWID;
"""

# What format 3 added: why a commit took rows away, in the words of whoever did.
_SINCE_3 = "CREATE TABLE reason (tx INTEGER PRIMARY KEY, reason TEXT NOT NULL);"

_TABLES = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO setting VALUES ('horizon', 0);

CREATE TABLE series (id INTEGER PRIMARY KEY, node TEXT NOT NULL UNIQUE);

-- Commits, without a hole in their numbers; committed_at (ns) strictly increases. start and end bound what
-- the commit touched. kind: write, declare, retract, repair, or compact, which changes nothing that can
-- be seen.
CREATE TABLE tx (
    id INTEGER PRIMARY KEY, committed_at INTEGER NOT NULL, kind TEXT NOT NULL, writer TEXT NOT NULL,
    series INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL);

-- first_ts and last_ts are the stamps of its first and last row. Of one series at one commit, chunks are
-- disjoint. The bytes lie apart, so that retiring a chunk does not rewrite them.
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first_ts INTEGER NOT NULL, last_ts INTEGER NOT NULL,
    rows INTEGER NOT NULL, codec INTEGER NOT NULL, checksum BLOB NOT NULL, bytes INTEGER NOT NULL,
    tx_from INTEGER NOT NULL, tx_to INTEGER NOT NULL);
CREATE INDEX chunk_order ON chunk (series, tx_to, last_ts);
CREATE TABLE blob (chunk INTEGER PRIMARY KEY, data BLOB NOT NULL);

-- Single rows, which lie over those of the chunks. over: 1 if a chunk holds a row of this stamp below it.
CREATE TABLE hot (
    series INTEGER NOT NULL, tx_to INTEGER NOT NULL, ts INTEGER NOT NULL, tx_from INTEGER NOT NULL,
    over INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (series, tx_to, ts, tx_from)) WITHOUT ROWID;

CREATE TABLE answer (
    series INTEGER NOT NULL, tx_to INTEGER NOT NULL, "end" INTEGER NOT NULL, start INTEGER NOT NULL,
    tx_from INTEGER NOT NULL, said TEXT NOT NULL, source TEXT NOT NULL, checked_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (series, tx_to, "end", start, tx_from)) WITHOUT ROWID;

CREATE TABLE facts (series INTEGER NOT NULL, tx_from INTEGER NOT NULL, tx_to INTEGER NOT NULL,
    facts TEXT NOT NULL, PRIMARY KEY (series, tx_from)) WITHOUT ROWID;

CREATE TABLE quarantine (
    series INTEGER NOT NULL, ts INTEGER, open REAL, high REAL, low REAL, close REAL, volume REAL,
    rule TEXT NOT NULL, source TEXT NOT NULL, checked_at INTEGER NOT NULL, tx INTEGER NOT NULL);
CREATE INDEX quarantine_order ON quarantine (series, ts);

-- Ranges whose rows were lost to damage: a read at tx_from <= T < tx_to must not call them answered.
CREATE TABLE lost (
    series INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    tx_from INTEGER NOT NULL, tx_to INTEGER NOT NULL, found_at INTEGER NOT NULL);

CREATE TABLE report (
    number INTEGER PRIMARY KEY, series INTEGER NOT NULL, archived_at INTEGER NOT NULL, report TEXT NOT NULL);
CREATE INDEX report_order ON report (series, number);
CREATE TABLE accepted (
    series INTEGER NOT NULL, rule TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, accepted_at INTEGER NOT NULL,
    PRIMARY KEY (series, rule, start, "end", fingerprint)) WITHOUT ROWID;
"""

# What each format added to the one before it.
_ADDED = {2: _SINCE_2, 3: _SINCE_3}


def format_of(connection: sqlite3.Connection) -> int:
    """Which format the file has; 0 if it was never laid out."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def recognise(connection: sqlite3.Connection, folder: Path) -> int:
    """Which format the store has; 0 if the file is new and empty. Raises for what is not ours to read."""
    # In one transaction: another process may be laying the file out at this moment.
    connection.execute("BEGIN")
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version = format_of(connection)
    connection.execute("ROLLBACK")
    if not application and not tables:
        return 0
    if application != APPLICATION_ID:
        raise StoreCorruptError(
            f"{folder / DATABASE} belongs to another program",
            path=folder,
            why=f"its SQLite application id is {application:#x}, not {APPLICATION_ID:#x}",
            next_step="name another directory for the store",
        )
    if version > FORMAT:
        raise StoreError(
            f"the store has format {version}; this qmtl reads formats up to {FORMAT}",
            path=folder,
            why="a newer qmtl has written it",
            next_step="pip install --upgrade qmtl",
        )
    return version


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make a store of an older format one of today's; all at once, or not at all."""
    added = "".join(tables for since, tables in _ADDED.items() if since > format_of(connection))
    connection.executescript(f"BEGIN IMMEDIATE; PRAGMA user_version = {FORMAT}; {added} COMMIT;")


def shard_steps(connection: sqlite3.Connection) -> int:
    """How many grid steps make a shard in this store."""
    found = connection.execute("SELECT value FROM setting WHERE name = 'shard_steps'").fetchone()
    return SHARD_STEPS if found is None else int(found[0])


def create(connection: sqlite3.Connection) -> None:
    """Lay out an empty file. All of it becomes visible at once."""
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
        f"{_TABLES} {''.join(_ADDED.values())} COMMIT;"
    )
