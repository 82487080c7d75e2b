"""The format on disk: its tables, its marks, and how a file is recognised as ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from zlib import crc32

from qmtl.foundation.errors import StoreCorruptError, StoreError

FORMAT = 4
# An older qmtl would sweep away what a pin holds, so that it must not open such a store.
FORMAT_WITH_PINS = 2
FORMAT_WITH_REASONS = 3
APPLICATION_ID = 0x716D746C  # "qmtl"
DATABASE = "bars.sqlite"
LOCK = "bars.lock"
PAGE_BYTES = 8192

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

# How a row of the index proves itself: SQLite has no checksums of its own. Texts are taken as bytes, for
# damaged ones cannot be decoded.
_PROVEN = {
    "chunk": "id, series, first_ts, last_ts, rows, codec, checksum, tx_from, tx_to",
    "answer": 'series, tx_to, "end", start, tx_from, CAST(said AS BLOB), CAST(source AS BLOB), checked_at,'
    " expires_at",
    "facts": "series, tx_from, tx_to, CAST(facts AS BLOB)",
    "series": "id, CAST(node AS BLOB), chunks, hot, answers",
    "tx": 'id, committed_at, series, start, "end"',
}
PROOF = {table: f"row_check({columns})" for table, columns in _PROVEN.items()}
# In SQL: whether a row is what was written.
SOUND = {table: f"crc IS {proof}" for table, proof in PROOF.items()}

# How many current chunks, hot rows and answers a series has, in SQL: what is counted beside its name.
COUNTS = ", ".join(
    f"(SELECT count(*) FROM {table} WHERE series = series_of.id AND tx_to = {LIVE})"
    for table in ("chunk", "hot", "answer")
)

# What format 4 added: proofs of rows, counts that show whether one has vanished, and what became of damage.
# lost.closed: NULL while `verify` reports it, then "healed" or "acknowledged".
_SINCE_4 = f"""
ALTER TABLE chunk ADD COLUMN crc INTEGER;
ALTER TABLE answer ADD COLUMN crc INTEGER;
ALTER TABLE facts ADD COLUMN crc INTEGER;
ALTER TABLE tx ADD COLUMN crc INTEGER;
ALTER TABLE series ADD COLUMN chunks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN hot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN answers INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN crc INTEGER;
ALTER TABLE lost ADD COLUMN why TEXT NOT NULL DEFAULT '';
ALTER TABLE lost ADD COLUMN closed TEXT;
UPDATE series AS series_of SET (chunks, hot, answers) = (SELECT {COUNTS});
{" ".join(f"UPDATE {table} SET crc = {proof};" for table, proof in PROOF.items())}
UPDATE lost SET closed = 'healed';
"""

# An older store that cannot be written is read as if it were of today.
_AS_TODAY = f"""
CREATE TEMP VIEW chunk AS SELECT *, {PROOF["chunk"]} AS crc FROM main.chunk;
CREATE TEMP VIEW answer AS SELECT *, {PROOF["answer"]} AS crc FROM main.answer;
CREATE TEMP VIEW facts AS SELECT *, {PROOF["facts"]} AS crc FROM main.facts;
CREATE TEMP VIEW tx AS SELECT *, {PROOF["tx"]} AS crc FROM main.tx;
CREATE TEMP VIEW series AS SELECT *, {PROOF["series"]} AS crc FROM (
    SELECT id, node,
           (SELECT count(*) FROM main.chunk WHERE series = s.id AND tx_to = {LIVE}) AS chunks,
           (SELECT count(*) FROM main.hot WHERE series = s.id AND tx_to = {LIVE}) AS hot,
           (SELECT count(*) FROM main.answer WHERE series = s.id AND tx_to = {LIVE}) AS answers
    FROM main.series AS s);
CREATE TEMP VIEW lost AS SELECT *, '' AS why, 'healed' AS closed FROM main.lost;
"""

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
_ADDED = {2: _SINCE_2, 3: _SINCE_3, 4: _SINCE_4}


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


def read_as_today(connection: sqlite3.Connection) -> None:
    """Let a connection that may not write see an older store as one of today's format."""
    if 0 < format_of(connection) < FORMAT:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.executescript(_AS_TODAY)


def row_check(*values: object) -> int:
    """The checksum of a row; `row_check(...)` in SQL once `teach` has been called."""
    return crc32(repr(values).encode())


def teach(connection: sqlite3.Connection) -> None:
    """Make `row_check` known to a connection."""
    connection.create_function("row_check", -1, row_check, deterministic=True)


def shard_steps(connection: sqlite3.Connection) -> int:
    """How many grid steps make a shard in this store."""
    found = connection.execute("SELECT value FROM setting WHERE name = 'shard_steps'").fetchone()
    return SHARD_STEPS if found is None else int(found[0])


def create(connection: sqlite3.Connection) -> None:
    """Lay out an empty file. All of it becomes visible at once."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
        f"{_TABLES} {''.join(_ADDED.values())} COMMIT;"
    )
