"""Which warnings were reviewed and accepted, bar by bar."""

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

# A null differs from the NaN that a source may send; each has one canonical form.
_NULL_BITS = 0x7FF8_0000_0000_4E55
_NAN_BITS = 0x7FF8_0000_0000_0000


class Accepted(NamedTuple):
    """A bar whose warning was accepted, and the fingerprint of its values; for rules of frequency a span."""

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
    for column, name in enumerate(VALUES, start=1):
        values = frame[name].to_numpy() + 0.0
        bits = values.view("<i8").copy()
        bits[np.isnan(values)] = _NAN_BITS
        if frame[name].null_count():
            bits[frame[name].is_null().to_numpy()] = _NULL_BITS
        cells[:, column] = bits
    return [blake3(row.tobytes()).hexdigest()[:16] for row in cells]


def accept(flags: Flags, frame: pl.DataFrame, rule: str, *, step: int) -> list[Accepted]:
    """The records that stop the flagged bars of a warning from raising, as long as their values stay.

    frame: rows of BAR_SCHEMA that contain the flagged bars. step: nanoseconds of the timeframe.
    Raises `ValueError` for a rule that is no warning: errors cannot be accepted, and infos need not.
    """
    if RULES[rule].severity != "warning":
        raise ValueError(f"{rule} is an {RULES[rule].severity}; only warnings are accepted")
    spans = [Accepted(rule, start, end, "") for start, end in flags.spans.get(rule, Coverage())]
    ts = flags.stamps(rule)
    flagged_rows = frame.filter(np.isin(stamps(frame), ts))
    fingerprints = row_fingerprints(flagged_rows)
    bars = [
        Accepted(rule, start, start + step, fingerprint)
        for start, fingerprint in zip(stamps(flagged_rows).tolist(), fingerprints, strict=True)
    ]
    return bars + spans


def unaccepted(flags: Flags, accepted: Iterable[Accepted], frame: pl.DataFrame) -> Flags:
    """The flags that still raise: errors, infos, and warnings not accepted or on changed bars.

    frame: rows of BAR_SCHEMA, sorted, that contain the flagged bars; a flag without its row stays.
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
    flagged = [(RULE_IDS[code], ts) for code, ts in zip(flags.codes.tolist(), flags.ts.tolist(), strict=True)]
    was_accepted = np.array([pair in bars for pair in flagged], dtype=bool)
    if was_accepted.any():
        rows = frame.filter(np.isin(stamps(frame), flags.ts[was_accepted]))
        current = dict(zip(stamps(rows).tolist(), row_fingerprints(rows), strict=True))
        for index in np.flatnonzero(was_accepted).tolist():
            keep[index] = current.get(flagged[index][1]) not in bars[flagged[index]]
    remaining_spans = {rule: cells - Coverage(spans.get(rule, ())) for rule, cells in flags.spans.items()}
    return flags.filter(keep, remaining_spans)
