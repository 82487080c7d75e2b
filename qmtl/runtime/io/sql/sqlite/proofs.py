"""Checksums of rows that no statement writes: by triggers of a connection, and in older formats."""

from __future__ import annotations

from qmtl.runtime.io.sql.sqlite.dialect import SQLITE, SqliteConnection, proof_of

# The statements on these tables write the checksum themselves, for they run at each commit.
_BY_STATEMENTS = ("chunk", "answer", "facts", "series", "tx")
# What names one row of each of the others.
_KEYS = {
    "hot": ["series", "tx_to", "ts", "tx_from"],
    "pin": ["name"],
    "reason": ["tx"],
    "report": ["number"],
    "accepted": ["series", "rule", "start", '"end"', "fingerprint"],
    "quarantine": ["rowid"],
    "lost": ["rowid"],
    "setting": ["name"],
    "identity": ["rowid"],
    "delivery": ["series", "tx_to", "ts", "tx_from"],
    "fence": ["series", "shard"],
    "stream_session": ["id", "series"],
    "schema_decision": ["number"],
    "schema_observation": ["subject", "hour", "version"],
}
# What format 4 proved of the rows of which format 5 proves more.
PROOFS_OF_4 = {
    "chunk": proof_of("id", "series", "first_ts", "last_ts", "rows", "codec", "checksum", "tx_from", "tx_to"),
    "series": proof_of("id", "CAST(node AS BLOB)", "chunks", "hot", "answers"),
    "tx": proof_of("id", "committed_at", "series", "start", '"end"'),
}


def proven_again() -> str:
    """Statements that prove the rows of formats up to 4 wholly. What was damaged by then stays unproven."""
    return " ".join(
        f"UPDATE {table} SET crc = {SQLITE.proofs[table]} WHERE crc IS NULL OR crc IS {proof};"
        for table, proof in {**SQLITE.proofs, **PROOFS_OF_4}.items()
        if table in _BY_STATEMENTS
    )


def proven_first() -> str:
    """Statements that give checksums to the rows of all other tables."""
    return "".join(
        f"ALTER TABLE {table} ADD COLUMN crc INTEGER; UPDATE {table} SET crc = {SQLITE.proofs[table]};"
        for table in _KEYS
    )


def prove_what_is_written(connection: SqliteConnection) -> None:
    """Let a connection that writes give checksums to the rows of all other tables.

    A row that is entered with a checksum keeps it, and one that does not match is not proven by a change.
    The triggers are of this connection alone: other programs could not run them.
    """
    if not connection.proves:
        connection.executescript("PRAGMA temp_store = MEMORY;" + _TRIGGERS)
        connection.proves = True


def _triggers(table: str) -> str:
    proof, columns = SQLITE.proofs[table], SQLITE.columns(table)
    changed = ", ".join(name for name, _ in columns)
    this_row = " AND ".join(f"{key} = NEW.{key}" for key in _KEYS[table])
    before = proof_of(
        *(SQLITE.as_bytes(f"OLD.{name}") if is_text else f"OLD.{name}" for name, is_text in columns)
    )
    return f"""
CREATE TEMP TRIGGER {table}_entered AFTER INSERT ON main.{table} WHEN NEW.crc IS NULL BEGIN
    UPDATE {table} SET crc = {proof} WHERE {this_row}; END;
CREATE TEMP TRIGGER {table}_changed AFTER UPDATE OF {changed} ON main.{table} WHEN OLD.crc IS {before} BEGIN
    UPDATE {table} SET crc = {proof} WHERE {this_row}; END;
"""


_TRIGGERS = "".join(map(_triggers, _KEYS))


def views_of_4() -> str:
    """Temporary views that show the tables of a store of format 4 with the checksums of today."""
    whole = {
        "chunk": "id, series, first_ts, last_ts, rows, codec, checksum, bytes, tx_from, tx_to",
        "tx": 'id, committed_at, kind, writer, series, start, "end"',
    }
    shown = {
        table: f"{columns}, CASE WHEN crc IS {PROOFS_OF_4[table]} THEN {SQLITE.proofs[table]} END"
        for table, columns in whole.items()
    }
    plain = ("hot", "pin", "reason", "report", "accepted", "quarantine", "setting")
    shown |= {table: f"*, {SQLITE.proofs[table]}" for table in plain}
    return "".join(
        f"CREATE TEMP VIEW IF NOT EXISTS {table} AS SELECT {columns} AS crc FROM main.{table};\n"
        for table, columns in shown.items()
    )
