"""Rows outside the requested span: how many, where they lie, and which unit would bring them inside."""

from __future__ import annotations

from collections.abc import Mapping

from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST, iso
from qmtl.foundation.words import counted

# By how many powers of ten a stamp is off, to what was taken for what.
UNITS: Mapping[int, str] = {
    3: "seconds taken for milliseconds, or another pair of units a thousand apart",
    6: "seconds taken for microseconds, or milliseconds for nanoseconds",
    9: "seconds taken for nanoseconds",
    -3: "milliseconds taken for seconds, or another pair of units a thousand apart",
    -6: "microseconds taken for seconds, or nanoseconds for milliseconds",
    -9: "nanoseconds taken for seconds",
}

# What the stamps are where milliseconds are expected, as in all answers that ccxt reads.
UNITS_FOR_MILLISECONDS: Mapping[int, str] = {
    3: "seconds, where milliseconds are expected",
    -3: "microseconds, where milliseconds are expected",
    -6: "nanoseconds, where milliseconds are expected",
}


def misplaced_rows(
    count: int, low: int, high: int, span: Span, units: Mapping[int, str] = UNITS, what: str = "row"
) -> str:
    """One sentence about rows from `low` to `high` (ns, of any size) that do not belong to `span`."""
    text = f"{counted(count, what)} from {_time(low)} to {_time(high)}, none of them within {span}"
    unit = next((name for power, name in units.items() if _fits(low, high, span, power)), None)
    return text if unit is None else f"{text}; the stamps fit if they are {unit}"


def _fits(low: int, high: int, span: Span, power: int) -> bool:
    scale: int = 10 ** abs(power)
    first, last = (low * scale, high * scale) if power > 0 else (low // scale, high // scale)
    return first < span.end and last >= span.start


def _time(ts: int) -> str:
    return iso(ts) if EARLIEST <= ts <= LATEST else f"{ts} ns (a time that nanoseconds cannot tell)"
