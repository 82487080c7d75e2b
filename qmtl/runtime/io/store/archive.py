"""Reports and acceptances: appended, never changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.store.reader import enter_series, series_number


def append(connection: sqlite3.Connection, series: SeriesId, report: Mapping[str, Any], now: int) -> int:
    """Append a report; its number."""
    text = json.dumps(report, separators=(",", ":"), allow_nan=False)
    added = connection.execute(
        "INSERT INTO report (series, archived_at, report) VALUES (?, ?, ?)",
        (enter_series(connection, series), now, text),
    )
    assert added.lastrowid is not None
    return added.lastrowid


def newest(connection: sqlite3.Connection, series: SeriesId) -> dict[str, Any] | None:
    """The newest report of a series, or None."""
    found = connection.execute(
        "SELECT report FROM report WHERE series = ? ORDER BY number DESC LIMIT 1",
        (series_number(connection, series),),
    ).fetchone()
    return None if found is None else json.loads(found[0])


def baseline(connection: sqlite3.Connection, series: SeriesId) -> dict[str, Any] | None:
    """The newest report of a series that found nothing that raises, or None."""
    found = connection.execute(
        "SELECT report FROM report WHERE series = ? AND json_extract(report, '$.errors') = 0"
        " AND json_extract(report, '$.warnings') = 0 ORDER BY number DESC LIMIT 1",
        (series_number(connection, series),),
    ).fetchone()
    return None if found is None else json.loads(found[0])


def listed(connection: sqlite3.Connection, series: SeriesId | None) -> list[dict[str, Any]]:
    """All reports, newest first."""
    found = connection.execute(
        "SELECT number, node, archived_at, report FROM report JOIN series ON series.id = report.series"
        " WHERE ?1 IS NULL OR node = ?1 ORDER BY number DESC",
        (None if series is None else series.text,),
    )
    return [
        {"number": number, "series": node, "archived_at": at, "report": json.loads(report)}
        for number, node, at, report in found
    ]


def accept(connection: sqlite3.Connection, series: SeriesId, accepted: Iterable[Accepted], now: int) -> int:
    """Record acceptances; how many were new."""
    number = enter_series(connection, series)
    return connection.executemany(
        "INSERT OR IGNORE INTO accepted VALUES (?, ?, ?, ?, ?, ?)", [(number, *one, now) for one in accepted]
    ).rowcount


def accepted(connection: sqlite3.Connection, series: SeriesId) -> list[Accepted]:
    """All acceptances of a series, by rule and time."""
    found = connection.execute(
        'SELECT rule, start, "end", fingerprint FROM accepted WHERE series = ?'
        ' ORDER BY rule, start, "end", accepted_at',
        (series_number(connection, series),),
    )
    return [Accepted(*row) for row in found]
