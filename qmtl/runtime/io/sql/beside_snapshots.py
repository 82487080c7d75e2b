"""What a store has that a snapshot of it has not: its past, and what it keeps beside bars and answers."""

from __future__ import annotations

from qmtl.foundation.words import counted
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.dialect import LIVE, VERSIONED

# By the tables that have it. Of those whose rows are versions, the ones that hold no longer.
_LEFT = {
    "older version": VERSIONED,
    "commit time": ("tx",),
    "pin": ("pin",),
    "reason": ("reason",),
    "quarantined row": ("quarantine",),
    "delivery time": ("delivery",),
    "stream session": ("stream_session",),
    "lost range": ("lost",),
    "schema decision": ("schema_decision",),
    "fencing token": ("fence",),
}


def left_behind(database: Database) -> tuple[str, ...]:
    """What a snapshot of the newest commit does not take along, each with how many there are."""
    found = []
    with database.reading() as connection:
        for what, tables in _LEFT.items():
            number = 0
            for table in tables:
                which = f" WHERE tx_to < {LIVE}" if table in VERSIONED else ""
                number += int(connection.execute(f"SELECT count(*) FROM {table}{which}").fetchone()[0])
            if number:
                found.append(counted(number, what))
    return tuple(found)
