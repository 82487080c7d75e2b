"""The format on disk: its tables, what each format added, and how an older one is brought up to date."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from qmtl.foundation.errors import StoreCorruptError
from qmtl.runtime.io.sql.dialect import ALL_VERSIONS, COUNTS, LIVE
from qmtl.runtime.io.sql.formats import Steps, steps_after
from qmtl.runtime.io.sql.sqlite.dialect import SQLITE
from qmtl.runtime.io.sql.sqlite.proofs import PROOFS_OF_4, proven_again, proven_first, views_of_4
from qmtl.runtime.io.store.fencing import SHARD_STEPS

FORMAT = 7
APPLICATION_ID = 0x716D746C  # "qmtl"
_NAMED_SINCE = 5  # the store has an identity
DATABASE = "bars.sqlite"
LOCK = "bars.lock"
# SQLite keeps what was committed but not yet moved into the main file in this one.
LOG = DATABASE + "-wal"
PAGE_BYTES = 8192

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
UPDATE lost SET closed = 'healed';
"""

# Format 4 wrote down of a lost single row no more than what it was.
COVERS_OF_4 = "why = 'a single row does not match its checksum'"

# What format 5 added: proofs of whole rows in every table, and a count of the versions that hold no longer.
# lost.covers: 1 where an older row may lie beneath what was lost, which must not be served in its place.
# And who the store is, the newest fencing token of each shard, when live bars were
# delivered, and the sessions of streams, each with what it delivered last. Governance had tables once it had
# a record.
_GOVERNANCE = """
CREATE TABLE IF NOT EXISTS schema_decision (
    number INTEGER PRIMARY KEY, subject TEXT NOT NULL, decision TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS schema_observation (
    subject TEXT NOT NULL, hour INTEGER NOT NULL, version INTEGER NOT NULL,
    checked INTEGER NOT NULL, failed INTEGER NOT NULL,
    PRIMARY KEY (subject, hour, version)) WITHOUT ROWID;
"""
_SINCE_5 = f"""
ALTER TABLE series ADD COLUMN versions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lost ADD COLUMN covers INTEGER NOT NULL DEFAULT 0;
UPDATE lost SET covers = 1 WHERE {COVERS_OF_4};
UPDATE series AS series_of SET versions = {ALL_VERSIONS};
CREATE TABLE identity (store_id TEXT NOT NULL);
CREATE TABLE fence (
    series INTEGER NOT NULL, shard INTEGER NOT NULL, token INTEGER NOT NULL, claim TEXT NOT NULL,
    opened_at INTEGER NOT NULL, PRIMARY KEY (series, shard)) WITHOUT ROWID;
CREATE INDEX fence_order ON fence (token);
CREATE TABLE delivery (
    series INTEGER NOT NULL, tx_to INTEGER NOT NULL, ts INTEGER NOT NULL, tx_from INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL, PRIMARY KEY (series, tx_to, ts, tx_from)) WITHOUT ROWID;
CREATE TABLE stream_session (
    id TEXT NOT NULL, series INTEGER NOT NULL, opened_at INTEGER NOT NULL, ended_at INTEGER,
    ts INTEGER, tx INTEGER, PRIMARY KEY (id, series)) WITHOUT ROWID;
{_GOVERNANCE}
{proven_again()}
{proven_first()}
"""

# What format 7 added: flags of bars, kept by stretch until a commit touches their reach.
# Without an index on the reach: a commit searches as a read does, so that no damage hides from the one what
# the other sees.
_SINCE_7 = """
CREATE TABLE kept_flags (
    series INTEGER NOT NULL, stretch INTEGER NOT NULL, rules BLOB NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, reach_start INTEGER NOT NULL, reach_end INTEGER NOT NULL,
    flags BLOB NOT NULL, crc INTEGER, PRIMARY KEY (series, stretch, rules)) WITHOUT ROWID;
"""

_VERSIONS_OF_S = ALL_VERSIONS.replace("FROM ", "FROM main.").replace("series_of.id", "s.id")

# An older store that cannot be written is read as if it were of today: what each later format added, as views
# of the connection.
_VIEWS_OF_4 = f"""
CREATE TEMP VIEW chunk AS SELECT *, {SQLITE.proofs["chunk"]} AS crc FROM main.chunk;
CREATE TEMP VIEW answer AS SELECT *, {SQLITE.proofs["answer"]} AS crc FROM main.answer;
CREATE TEMP VIEW facts AS SELECT *, {SQLITE.proofs["facts"]} AS crc FROM main.facts;
CREATE TEMP VIEW tx AS SELECT *, {SQLITE.proofs["tx"]} AS crc FROM main.tx;
CREATE TEMP VIEW series AS SELECT *, {SQLITE.proofs["series"]} AS crc FROM (
    SELECT id, node,
           (SELECT count(*) FROM main.chunk WHERE series = s.id AND tx_to = {LIVE}) AS chunks,
           (SELECT count(*) FROM main.hot WHERE series = s.id AND tx_to = {LIVE}) AS hot,
           (SELECT count(*) FROM main.answer WHERE series = s.id AND tx_to = {LIVE}) AS answers,
           {_VERSIONS_OF_S} AS versions
    FROM main.series AS s);
CREATE TEMP VIEW lost AS SELECT *, {SQLITE.proofs["lost"]} AS crc FROM (
    SELECT *, '' AS why, 'healed' AS closed, 0 AS covers FROM main.lost);
"""
# Format 4 had proofs of its own; what matched them is taken for whole.
_VIEWS_OF_5 = f"""
CREATE TEMP VIEW IF NOT EXISTS series AS
    SELECT id, node, chunks, hot, answers, versions,
           CASE was_sound WHEN 1 THEN {SQLITE.proofs["series"]} END AS crc
    FROM (SELECT id, node, chunks, hot, answers, {_VERSIONS_OF_S} AS versions,
                 crc IS {PROOFS_OF_4["series"]} AS was_sound FROM main.series AS s);
CREATE TEMP VIEW IF NOT EXISTS lost AS SELECT *, {SQLITE.proofs["lost"]} AS crc FROM (
    SELECT *, {COVERS_OF_4} AS covers FROM main.lost);
{views_of_4()}
CREATE TEMP TABLE delivery (
    series INTEGER, tx_to INTEGER, ts INTEGER, tx_from INTEGER, delivered_at INTEGER, crc INTEGER);
CREATE TEMP TABLE identity (store_id TEXT, crc INTEGER);
CREATE TEMP TABLE fence (
    series INTEGER, shard INTEGER, token INTEGER, claim TEXT, opened_at INTEGER, crc INTEGER);
CREATE TEMP TABLE stream_session (
    id TEXT, series INTEGER, opened_at INTEGER, ended_at INTEGER, ts INTEGER, tx INTEGER, crc INTEGER);
"""
_VIEWS = {
    2: "CREATE TEMP TABLE pin (name TEXT, tx INTEGER, as_of INTEGER, pinned_at INTEGER, crc INTEGER);",
    3: "CREATE TEMP TABLE reason (tx INTEGER PRIMARY KEY, reason TEXT, crc INTEGER);",
    4: _VIEWS_OF_4,
    5: _VIEWS_OF_5,
    7: "CREATE TEMP TABLE kept_flags (series INTEGER, stretch INTEGER, rules BLOB, start INTEGER,"
    ' "end" INTEGER, reach_start INTEGER, reach_end INTEGER, flags BLOB, crc INTEGER);',
}

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
# Format 6 has the tables of format 5: its chunks are pages, which code of format 5 would take for damage.
STEPS: Steps = {2: _SINCE_2, 3: _SINCE_3, 4: _SINCE_4, 5: _SINCE_5, 7: _SINCE_7}


def format_of(connection: sqlite3.Connection) -> int:
    """Which format the file has; 0 if it was never laid out."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make a store of an older format one of today's; all at once, or not at all."""
    found = format_of(connection)
    added = "".join(steps_after(found, STEPS))
    named = _named_now() if found < _NAMED_SINCE else ""
    connection.executescript(f"BEGIN IMMEDIATE; PRAGMA user_version = {FORMAT}; {added} {named} COMMIT;")


def _named_now() -> str:
    return (
        f"INSERT INTO identity (store_id) VALUES ('{uuid4()}');"
        f" UPDATE identity SET crc = {SQLITE.proofs['identity']};"
    )


def read_as_today(connection: sqlite3.Connection) -> None:
    """Let a connection that may not write see an older store as one of today's format."""
    if 0 < (found := format_of(connection)) < max(_VIEWS):
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.executescript("".join(views for since, views in _VIEWS.items() if since > found))
        has_governance = _has_governance(connection)
        if not has_governance:
            connection.executescript(_GOVERNANCE.replace("TABLE", "TEMP TABLE"))
        for table in ("schema_decision", "schema_observation"):
            connection.execute(
                f"CREATE TEMP VIEW {table} AS SELECT *, {SQLITE.proofs[table]} AS crc FROM main.{table}"
                if has_governance
                else f"ALTER TABLE temp.{table} ADD COLUMN crc INTEGER"
            )


def _has_governance(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_observation'")
    return found.fetchone() is not None


def store_id(connection: sqlite3.Connection) -> str:
    """Who the store is; empty in a store of an older format that cannot be written."""
    if format_of(connection) < _NAMED_SINCE:
        return ""
    found = connection.execute("SELECT store_id FROM identity").fetchone()
    if found is None:
        raise StoreCorruptError(
            "the id of the store is gone",
            next_step="bring the store back from a backup (`qmtl store restore`)",
        )
    return str(found[0])


def shard_steps(connection: sqlite3.Connection) -> int:
    """How many grid steps make a shard in this store. Raises `StoreCorruptError` where that is gone.

    Format 1 does not say: its shards are of the steps that updating it writes down.
    """
    found = connection.execute("SELECT value FROM setting WHERE name = 'shard_steps'").fetchone()
    if found is not None:
        return int(found[0])
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < 2:
        return SHARD_STEPS
    raise StoreCorruptError(
        "the size of the shards is gone from the settings of the store",
        why="writers that cut shards differently would not see each other's fences",
        next_step="bring the store back from a backup (`qmtl store restore`)",
    )


def create(connection: sqlite3.Connection) -> None:
    """Lay out an empty file. All of it becomes visible at once."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
        f"{_TABLES} {''.join(STEPS.values())} {_named_now()} COMMIT;"
    )
