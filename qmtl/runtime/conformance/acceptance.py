"""Which warnings somebody has looked at and accepted, bar by bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from blake3 import blake3

from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.rules import RULE_IDS, RULES

# A null is not the NaN that a source may send; both must have one canonical form.
_NULL_BITS = 0x7FF8_0000_0000_4E55
_NAN_BITS = 0x7FF8_0000_0000_0000


class Accepted(NamedTuple):
    """A bar (for a rule of frequency: a span) whose warning was accepted, and what it held then."""

    rule: str
    start: int
    end: int
    fingerprint: str


def row_fingerprints(frame: pl.DataFrame) -> list[str]:
    """16 hex characters per row of BAR_SCHEMA columns: blake3 of its six values, little-endian.

    Minus zero counts as zero, all NaN as one, and null as none of them.
    """
    cells = np.empty((frame.height, 1 + len(VALUES)), dtype="<i8")
    cells[:, 0] = stamps(frame)
    for place, name in enumerate(VALUES, start=1):
        values = frame[name].to_numpy() + 0.0
        bits = values.view("<i8").copy()
        bits[np.isnan(values)] = _NAN_BITS
        if frame[name].null_count():
            bits[frame[name].is_null().to_numpy()] = _NULL_BITS
        cells[:, place] = bits
    return [blake3(row.tobytes()).hexdigest()[:16] for row in cells]


def accept(flags: Flags, frame: pl.DataFrame, rule: str, *, step: int) -> list[Accepted]:
    """What to record so that the flagged bars of a warning no longer raise, as they are now.

    frame: rows of BAR_SCHEMA that hold the flagged bars. step: nanoseconds of the timeframe.
    Raises `ValueError` for a rule that is no warning: errors cannot be accepted, and infos need not.
    """
    if RULES[rule].severity != "warning":
        raise ValueError(f"{rule} is an {RULES[rule].severity}; only warnings are accepted")
    spans = [Accepted(rule, start, end, "") for start, end in flags.spans.get(rule, Coverage())]
    ts = flags.stamps(rule)
    marked = frame.filter(np.isin(stamps(frame), ts))
    prints = row_fingerprints(marked)
    bars = [
        Accepted(rule, start, start + step, mark)
        for start, mark in zip(stamps(marked).tolist(), prints, strict=True)
    ]
    return bars + spans


def unaccepted(flags: Flags, accepted: Iterable[Accepted], frame: pl.DataFrame) -> Flags:
    """The flags that still raise: errors, infos, and warnings not accepted or on changed bars.

    frame: rows of BAR_SCHEMA, sorted, that hold the flagged bars; a flag without its row stays.
    """
    bars: dict[tuple[str, int], set[str]] = {}
    spans: dict[str, list[tuple[int, int]]] = {}
    for item in accepted:
        if item.rule not in RULES or RULES[item.rule].severity != "warning":
            continue
        if item.fingerprint:
            bars.setdefault((item.rule, item.start), set()).add(item.fingerprint)
        else:
            spans.setdefault(item.rule, []).append((item.start, item.end))
    keep = np.ones(len(flags.ts), dtype=bool)
    named = [(RULE_IDS[code], ts) for code, ts in zip(flags.codes.tolist(), flags.ts.tolist(), strict=True)]
    asked = np.array([pair in bars for pair in named], dtype=bool)
    if asked.any():
        rows = frame.filter(np.isin(stamps(frame), flags.ts[asked]))
        now = dict(zip(stamps(rows).tolist(), row_fingerprints(rows), strict=True))
        for place in np.flatnonzero(asked).tolist():
            keep[place] = now.get(named[place][1]) not in bars[named[place]]
    left = {rule: cells - Coverage(spans.get(rule, ())) for rule, cells in flags.spans.items()}
    return flags.only(keep, left)
