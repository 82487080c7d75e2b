"""Decisions and observations about schemas, kept beside the bars where no registry is set."""

from __future__ import annotations

import json

from qmtl.foundation.schema.governance.decisions import Decision, Observation
from qmtl.foundation.times import HOUR
from qmtl.runtime.io.sql.commits import damaged_list
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.stored_texts import read_text


def decide(connection: Connection, subject: str, decision: Decision) -> None:
    """Append a decision."""
    connection.execute(
        "INSERT INTO schema_decision (subject, decision) VALUES (?, ?)",
        (subject, json.dumps(decision.to_json(), separators=(",", ":"))),
    )


def decisions(connection: Connection, subject: str) -> tuple[Decision, ...]:
    """All of a subject, oldest first."""
    found = connection.execute(
        f"SELECT decision, {connection.dialect.sound['schema_decision']} FROM schema_decision"
        " WHERE subject = ? ORDER BY number",
        (subject,),
    ).fetchall()
    if not all(is_sound for *_, is_sound in found):
        raise damaged_list("the list of decisions on schemas")
    return tuple(
        read_text(text, f"a decision on the schema {subject!r}", lambda said: Decision(**said))
        for text, _ in found
    )


def observe(connection: Connection, subject: str, observation: Observation) -> None:
    """Add to the counts of its version and hour."""
    version, hour, checked, failed = observation
    connection.execute(
        "INSERT INTO schema_observation (subject, hour, version, checked, failed) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (subject, hour, version) DO UPDATE"
        " SET checked = schema_observation.checked + excluded.checked,"
        " failed = schema_observation.failed + excluded.failed",
        (subject, hour, version, checked, failed),
    )


def observed(connection: Connection, subject: str, since: int) -> tuple[Observation, ...]:
    """By hour, then version; of the hours that end after `since`."""
    found = connection.execute(
        "SELECT version, hour, checked, failed,"
        f" {connection.dialect.sound['schema_observation']} FROM schema_observation"
        " WHERE subject = ? AND hour > ? ORDER BY hour, version",
        (subject, since - HOUR),
    ).fetchall()
    if not all(is_sound for *_, is_sound in found):
        raise damaged_list("the list of observations of schemas")
    return tuple(Observation(*row) for *row, _ in found)
