"""Decisions and observations about schemas, kept beside the bars where no registry is set."""

from __future__ import annotations

import json
import sqlite3

from qmtl.foundation.schema.governance import Decision, Observation
from qmtl.foundation.times import HOUR

# Made with the first record, in the format that every store has: an older qmtl does not look at them.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS schema_decision ("
    " number INTEGER PRIMARY KEY, subject TEXT NOT NULL, decision TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS schema_observation ("
    " subject TEXT NOT NULL, hour INTEGER NOT NULL, version INTEGER NOT NULL,"
    " checked INTEGER NOT NULL, failed INTEGER NOT NULL,"
    " PRIMARY KEY (subject, hour, version)) WITHOUT ROWID",
)


def decide(connection: sqlite3.Connection, subject: str, decision: Decision) -> None:
    """Append a decision."""
    _lay_out(connection)
    connection.execute(
        "INSERT INTO schema_decision (subject, decision) VALUES (?, ?)",
        (subject, json.dumps(decision.to_json(), separators=(",", ":"))),
    )


def decisions(connection: sqlite3.Connection, subject: str) -> tuple[Decision, ...]:
    """All of a subject, oldest first."""
    if not _is_laid_out(connection):
        return ()
    found = connection.execute(
        "SELECT decision FROM schema_decision WHERE subject = ? ORDER BY number", (subject,)
    )
    return tuple(Decision(**json.loads(text)) for (text,) in found)


def observe(connection: sqlite3.Connection, subject: str, observation: Observation) -> None:
    """Add to the counts of its version and hour."""
    _lay_out(connection)
    version, hour, checked, failed = observation
    connection.execute(
        "INSERT INTO schema_observation VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET checked = checked + excluded.checked, failed = failed + excluded.failed",
        (subject, hour, version, checked, failed),
    )


def observed(connection: sqlite3.Connection, subject: str, since: int) -> tuple[Observation, ...]:
    """By hour, then version; of the hours that end after `since`."""
    if not _is_laid_out(connection):
        return ()
    found = connection.execute(
        "SELECT version, hour, checked, failed FROM schema_observation"
        " WHERE subject = ? AND hour > ? ORDER BY hour, version",
        (subject, since - HOUR),
    )
    return tuple(Observation(*row) for row in found)


def _lay_out(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)


def _is_laid_out(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_observation'")
    return found.fetchone() is not None
