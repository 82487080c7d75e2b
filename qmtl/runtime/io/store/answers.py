"""What sources said of a series, as disjoint spans: the newer word replaces the older."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.store.base import Answer, Write


def overlay(older: Iterable[Answer], write: Write) -> list[Answer]:
    """The answers after a write, ordered, disjoint, as few as possible.

    Within one write an absence is narrower than the answer around it, and a retraction beats both; of what it
    takes away, "refused" says until when it need not be asked for again. Answers
    that touch and say the same of the same source become one; its `checked_at` is the older of the two, so
    that it never claims more than is true.
    """
    absent = write.absent - write.retracted
    answered = write.answered - absent - write.retracted
    touched = write.answered | write.absent | write.retracted
    said = without(older, touched)
    said += [Answer(s, e, "answered", write.source, write.checked_at, None) for s, e in answered]
    said += [Answer(s, e, "absent", write.source, write.checked_at, write.absent_until) for s, e in absent]
    refused = write.refused & write.retracted
    said += [Answer(s, e, "refused", write.source, write.checked_at, write.refused_until) for s, e in refused]
    return merge(said)


def without(answers: Iterable[Answer], gone: Coverage) -> list[Answer]:
    """The answers outside `gone`; one that straddles an edge is cut there."""
    kept = []
    first, last = gone.hull
    for answer in answers:
        if answer.end <= first or answer.start >= last:
            kept.append(answer)
            continue
        span = Span(answer.start, answer.end)
        cut = gone.clip(span)
        if not cut:
            kept.append(answer)
            continue
        kept += [answer._replace(start=start, end=end) for start, end in Coverage.of(span) - cut]
    return kept


def merge(answers: Iterable[Answer]) -> list[Answer]:
    """Disjoint answers in order, with those joined that touch and say the same."""
    merged: list[Answer] = []
    for answer in sorted(answers):
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.end == answer.start
            and (last.said, last.source, last.expires_at) == (answer.said, answer.source, answer.expires_at)
        ):
            merged[-1] = last._replace(end=answer.end, checked_at=min(last.checked_at, answer.checked_at))
        else:
            merged.append(answer)
    return merged
