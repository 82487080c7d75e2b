"""What was thought of the bars of a series: its reports, and the warnings that somebody accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import to_ns
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.store.contract import ReportArchive
from qmtl.runtime.io.store.values import refuse_unarchived


class Opinions(NamedTuple):
    """reports: as they were archived, oldest first."""

    reports: tuple[Mapping[str, Any], ...]
    accepted: tuple[Accepted, ...]

    def __bool__(self) -> bool:
        return bool(self.reports or self.accepted)


def opinions_at(store: ReportArchive, series: SeriesId, as_of: int) -> Opinions:
    """What a store has of a series: reports on what it held at `as_of` (ns), and all acceptances."""
    reports = (one["report"] for one in reversed(store.reports(series)))
    fitting = (one for one in reports if one.get("as_of") is not None and to_ns(one["as_of"]) <= as_of)
    return Opinions(tuple(fitting), tuple(store.accepted(series)))


def opinions_to_bytes(opinions: Opinions) -> bytes:
    """As JSON; the same opinions are the same bytes."""
    body = {"reports": opinions.reports, "accepted": [one._asdict() for one in opinions.accepted]}
    return json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False).encode()


def opinions_of_bytes(data: bytes) -> Opinions:
    body = json.loads(data)
    return Opinions(tuple(body["reports"]), tuple(Accepted(**one) for one in body["accepted"]))


def add_opinions(store: ReportArchive, series: SeriesId, opinions: Opinions) -> int:
    """Archive the reports that a store lacks, and record the acceptances; how many reports were new."""
    there = [one["report"] for one in store.reports(series)]
    new = [report for report in opinions.reports if report not in there]
    for report in new:
        refuse_unarchived(series, store.archive_report(series, report))
    store.accept(series, opinions.accepted)
    return len(new)
