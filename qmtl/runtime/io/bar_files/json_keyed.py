"""JSON objects whose keys are times, as some services and pandas write tables."""

from __future__ import annotations

import re
from typing import Any

# A date, with or without marks and a time behind it, or a count of nine digits and more.
_TIME = re.compile(r"\d{4}([-/.]?)\d{2}\1\d{2}(?:[T ].*)?|\d{9,19}(?:\.\d+)?")


def rows_by_time(value: Any) -> list[dict[str, Any]] | None:
    """The rows of an object of objects that is keyed by time; None if it is none.

    Either each time has its columns, `{"2024-01-02": {"open": ...}}`, or each column its times, as pandas
    writes a frame, `{"open": {"2024-01-02": ...}}`. The times become the column `time`.
    """
    if not isinstance(value, dict) or not value or not all(_is_flat(inner) for inner in value.values()):
        return None
    if all(map(_TIME.fullmatch, value)):
        name = "time" if not any("time" in inner for inner in value.values()) else "key"
        return [{name: key, **inner} for key, inner in value.items()]
    times = next(iter(value.values()))
    alike = all(inner.keys() == times.keys() for inner in value.values())
    if len(value) > 1 and alike and "time" not in value and all(map(_TIME.fullmatch, times)):
        return [{"time": key, **{name: inner[key] for name, inner in value.items()}} for key in times]
    return None


def _is_flat(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and not any(isinstance(v, dict | list) for v in value.values())
    )
