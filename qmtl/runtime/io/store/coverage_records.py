"""Coverage records of a series: disjoint, and a new one replaces what it overlaps."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.store.values import CoverageRecord, Write


def overlay(older: Iterable[CoverageRecord], write: Write) -> list[CoverageRecord]:
    """The records after a write, ordered, disjoint, as few as possible.

    Within one write an absence is narrower than the answer around it, and a retraction beats both; "refused"
    keeps, of what is retracted, until when it need not be asked for again. Records that touch and agree in
    outcome, source and expiry become one; its `checked_at` is the older of the two, so that it never claims
    more than is true.
    """
    absent = write.absent - write.retracted
    answered = write.answered - absent - write.retracted
    records = without(older, write.covered)
    records += [CoverageRecord(s, e, "answered", write.source, write.checked_at, None) for s, e in answered]
    records += [
        CoverageRecord(s, e, "absent", write.source, write.checked_at, write.absent_until) for s, e in absent
    ]
    refused = write.refused & write.retracted
    records += [
        CoverageRecord(s, e, "refused", write.source, write.checked_at, write.refused_until)
        for s, e in refused
    ]
    return merge(records)


def without(records: Iterable[CoverageRecord], gone: Coverage) -> list[CoverageRecord]:
    """The records outside `gone`; one that straddles an edge is cut there."""
    kept = []
    first, last = gone.hull
    for record in records:
        if record.end <= first or record.start >= last:
            kept.append(record)
            continue
        span = Span(record.start, record.end)
        cut = gone.clip(span)
        if not cut:
            kept.append(record)
            continue
        kept += [record._replace(start=start, end=end) for start, end in Coverage.of(span) - cut]
    return kept


def merge(records: Iterable[CoverageRecord]) -> list[CoverageRecord]:
    """Disjoint records in order, with those joined that touch and differ in their span alone."""
    merged: list[CoverageRecord] = []
    for record in sorted(records):
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.end == record.start
            and (last.outcome, last.source, last.expires_at)
            == (record.outcome, record.source, record.expires_at)
        ):
            merged[-1] = last._replace(end=record.end, checked_at=min(last.checked_at, record.checked_at))
        else:
            merged.append(record)
    return merged
