"""Coverage records of a series: disjoint, and a new one replaces what it overlaps."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.io.store.values import CoverageRecord, Outcome, Write


def overlay(older: Iterable[CoverageRecord], write: Write) -> list[CoverageRecord]:
    """The records after a write, ordered, disjoint, as few as possible.

    Within one write an absence is narrower than the answer around it, and a retraction beats both; "refused"
    keeps, of what is retracted, until when it need not be asked for again. Records that touch and agree in
    outcome, source and expiry become one; its `checked_at` is the older of the two, so that it never claims
    more than is true.
    """
    if write.absent is EMPTY and write.retracted is EMPTY:  # as of a live bar
        return merge([*without(older, write.answered), *_records(write, "answered", write.answered, None)])
    absent = write.absent - write.retracted
    answered = write.answered - absent - write.retracted
    refused = write.refused & write.retracted
    return merge(
        [
            *without(older, write.covered),
            *_records(write, "answered", answered, None),
            *_records(write, "absent", absent, write.absent_until),
            *_records(write, "refused", refused, write.refused_until),
        ]
    )


def grown(record: CoverageRecord, write: Write) -> CoverageRecord | None:
    """What `overlay` makes of a record, where a write only answers for what follows it at once; else None."""
    if write.absent is not EMPTY or write.retracted is not EMPTY or len(write.answered) != 1:
        return None
    start, end, outcome, source, checked_at, expires_at = record
    (span,) = write.answered.spans
    if span.start != end or outcome != "answered" or source != write.source or expires_at is not None:
        return None
    return CoverageRecord(start, span.end, "answered", source, min(checked_at, write.checked_at), None)


def _records(write: Write, outcome: Outcome, cells: Coverage, until: int | None) -> list[CoverageRecord]:
    if cells is EMPTY:  # most often
        return []
    return [
        CoverageRecord(start, end, outcome, write.source, write.checked_at, until) for start, end in cells
    ]


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
            checked_at = min(last.checked_at, record.checked_at)
            merged[-1] = CoverageRecord(
                last.start, record.end, last.outcome, last.source, checked_at, last.expires_at
            )
        else:
            merged.append(record)
    return merged
