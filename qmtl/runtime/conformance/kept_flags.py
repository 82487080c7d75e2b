"""Flags that were found once, as a store keeps them: of stretches of a series, with what they rest on."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags

# Stretches begin at multiples of so many steps. A commit makes those void that looked at what it touches, so
# shorter ones outlive more commits, and longer ones take less to read.
STRETCH_STEPS = 8_192


class KeptFlags(NamedTuple):
    """The flags of the bars that open within `span`, a part of one stretch.

    reach: from the first to the last of what was looked at, rows and coverage records. Once a commit touches
    any of it, the flags are void.
    """

    span: Span
    reach: Span
    flags: Flags

    def rests_on(self, touched: Span) -> bool:
        """Whether a commit that touches this range makes them void."""
        return touched.start < self.reach.end and self.reach.start < touched.end


def stretch_number(ts: int, step: int) -> int:
    """In which stretch a bar opens."""
    return ts // (STRETCH_STEPS * step)


def stretches_of(span: Span, step: int) -> Span:
    """From the begin of the first stretch that the bars of `span` lie in to the end of the last one."""
    first, last = stretch_number(span.start, step), stretch_number(span.end - 1, step)
    width = STRETCH_STEPS * step
    return Span(max(first * width, EARLIEST), min((last + 1) * width, LATEST))


def cut(
    flags: Flags, ts: Int64Array, span: Span, reach: Span, *, step: int, max_context: int
) -> Iterator[KeptFlags]:
    """The flags of `span`, by stretch.

    ts: of all rows that were looked at, within `reach`. max_context: how many rows on either side of a bar
    its flags can depend on.
    """
    width = STRETCH_STEPS * step
    for number in range(stretch_number(span.start, step), stretch_number(span.end - 1, step) + 1):
        part = Span(max(span.start, number * width), min(span.end, (number + 1) * width))
        first, last = ts.searchsorted(part).tolist()
        start = reach.start if first < max_context else int(ts[first - max_context])
        end = reach.end if last + max_context > len(ts) else int(ts[last + max_context - 1]) + step
        yield KeptFlags(part, Span(min(start, part.start), max(end, part.end)), flags.clip(part))


def joined(kept: Sequence[KeptFlags], span: Span) -> Flags | None:
    """The flags of `span`; None where nothing was kept for a part of it. kept: by start, disjoint."""
    known = span.start
    for one in kept:
        if one.span.start > known:
            return None
        known = max(known, one.span.end)
    return Flags.joined([one.flags for one in kept]).clip(span) if known >= span.end else None


def merged(known: KeptFlags, new: KeptFlags) -> KeptFlags:
    """Both, if they overlap or touch; else the longer one. Where they overlap, they say the same."""
    if known.span.end < new.span.start or new.span.end < known.span.start:
        return known if known.span.length > new.span.length else new
    before = Span(min(known.span.start, new.span.start), new.span.start)
    after = Span(new.span.end, max(known.span.end, new.span.end))
    flags = Flags.joined([known.flags.clip(before), new.flags, known.flags.clip(after)])
    reach = Span(min(known.reach.start, new.reach.start), max(known.reach.end, new.reach.end))
    return KeptFlags(Span(before.start, after.end), reach, flags)


_COUNT = struct.Struct("<I")


def to_bytes(flags: Flags) -> bytes:
    """Flags as bytes; none for none. Little-endian: how many, their stamps, their codes, then the spans."""
    if flags is EMPTY_FLAGS:
        return b""
    spans = json.dumps([_listed(flags.spans), _listed(flags.unchecked)]).encode()
    stamps, codes = flags.ts.astype("<i8").tobytes(), flags.codes.astype("<i2").tobytes()
    return _COUNT.pack(len(flags.ts)) + stamps + codes + spans


def from_bytes(data: bytes) -> Flags:
    """The flags that `to_bytes` was given."""
    if not data:
        return EMPTY_FLAGS
    (count,) = _COUNT.unpack_from(data)
    codes_at = _COUNT.size + 8 * count
    ts = np.frombuffer(data, "<i8", count, _COUNT.size).astype(np.int64)
    codes = np.frombuffer(data, "<i2", count, codes_at).astype(np.int16)
    spans, unchecked = json.loads(data[codes_at + 2 * count :])
    return Flags(ts, codes, _covered(spans), _covered(unchecked))


def _listed(spans: Mapping[str, Coverage]) -> dict[str, list[list[int]]]:
    return {rule: [list(span) for span in cells.spans] for rule, cells in spans.items()}


def _covered(spans: Mapping[str, Iterable[tuple[int, int]]]) -> dict[str, Coverage]:
    return {rule: Coverage(cells) for rule, cells in spans.items()}
