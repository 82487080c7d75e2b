"""Reports and acceptances: appended, never changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from qmtl.foundation.series import SeriesId
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.commits import damaged_list, enter_series, series_number
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.stored_texts import read_text


def append(connection: Connection, series: SeriesId, report: Mapping[str, Any], now: int) -> int:
    """Append a report; its number."""
    text = json.dumps(report, separators=(",", ":"), allow_nan=False)
    (number,) = connection.execute(
        "INSERT INTO report (series, archived_at, report) VALUES (?, ?, ?) RETURNING number",
        (enter_series(connection, series), now, text),
    ).fetchone()
    return int(number)


def newest(connection: Connection, series: SeriesId) -> dict[str, Any] | None:
    """The newest report of a series, or None."""
    found = connection.execute(
        f"SELECT report, {connection.dialect.sound['report']} FROM report"
        " WHERE series = ? ORDER BY number DESC LIMIT 1",
        (series_number(connection, series),),
    ).fetchone()
    return None if found is None else _whole(*found)


def baseline(connection: Connection, series: SeriesId) -> dict[str, Any] | None:
    """The newest report of a series that found nothing that raises, or None."""
    errors, warnings = (connection.dialect.number_in("report", name) for name in ("errors", "warnings"))
    found = connection.execute(
        f"SELECT report FROM report WHERE series = ?"
        f" AND CASE WHEN {connection.dialect.sound['report']} THEN {errors} = 0 AND {warnings} = 0 END"
        " ORDER BY number DESC LIMIT 1",
        (series_number(connection, series),),
    ).fetchone()
    return None if found is None else _whole(found[0], True)


def listed(connection: Connection, series: SeriesId | None) -> list[dict[str, Any]]:
    """All reports, newest first."""
    where = "" if series is None else "WHERE series_of = (SELECT id FROM series WHERE node = ?)"
    found = connection.execute(
        "SELECT number, (SELECT node FROM series WHERE id = series_of), archived_at, report, is_sound FROM"
        " (SELECT number, series AS series_of, archived_at, report,"
        f" {connection.dialect.sound['report']} AS is_sound FROM report) AS archived"
        f" {where} ORDER BY number DESC",
        () if series is None else (series.text,),
    )
    return [
        {"number": number, "series": node, "archived_at": at, "report": _whole(report, is_sound)}
        for number, node, at, report, is_sound in found
    ]


def _whole(report: str, is_sound: bool) -> dict[str, Any]:
    if not is_sound:
        raise damaged_list("the archive of reports")
    return read_text(report, "a report of the archive", dict)


def accept(connection: Connection, series: SeriesId, accepted: Iterable[Accepted], now: int) -> int:
    """Record acceptances; how many were new."""
    number = enter_series(connection, series)
    return connection.executemany(
        'INSERT INTO accepted (series, rule, start, "end", fingerprint, accepted_at)'
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(number, *one, now) for one in accepted],
    ).rowcount


def accepted(connection: Connection, series: SeriesId) -> list[Accepted]:
    """All acceptances of a series, by rule and time. A damaged one accepts nothing."""
    found = connection.execute(
        'SELECT rule, start, "end", fingerprint FROM accepted WHERE series = ?'
        f" AND {connection.dialect.sound['accepted']}"
        ' ORDER BY rule, start, "end", accepted_at',
        (series_number(connection, series),),
    )
    return [Accepted(*row) for row in found]
