"""What a range of bars amounts to, in counts and extremes that merge without a rescan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import polars as pl

from qmtl.foundation.frames import VALUES, stamps
from qmtl.foundation.states import BarStates
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.rules import RULE_IDS


@dataclass(frozen=True)
class SchemaRollup:
    """Stage one: per column, how many nulls, and the least and greatest value (NaN left out)."""

    nulls: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    greatest: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: SchemaRollup) -> SchemaRollup:
        return SchemaRollup(
            _merged(self.nulls, other.nulls, int.__add__),
            _merged(self.least, other.least, min),
            _merged(self.greatest, other.greatest, max),
        )


@dataclass(frozen=True)
class TemporalRollup:
    """Stage two: rows, their first and last stamp (ns; None without rows), and bars per state."""

    rows: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    states: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: TemporalRollup) -> TemporalRollup:
        firsts = [ts for ts in (self.first_ts, other.first_ts) if ts is not None]
        lasts = [ts for ts in (self.last_ts, other.last_ts) if ts is not None]
        return TemporalRollup(
            self.rows + other.rows,
            min(firsts, default=None),
            max(lasts, default=None),
            _merged(self.states, other.states, int.__add__),
        )


@dataclass(frozen=True)
class QualityRollup:
    """Stage three: flags per rule; for rules of frequency, cells."""

    flags: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: QualityRollup) -> QualityRollup:
        return QualityRollup(_merged(self.flags, other.flags, int.__add__))


@dataclass(frozen=True)
class Rollup:
    """The three stages of one series and timeframe.

    `rollup(A + B) == rollup(A) + rollup(B)` for bars and cells that do not overlap: `+` is associative and
    commutative, and `Rollup()` changes nothing. Only counts and extremes are kept: sums of floats would
    depend on the order.
    """

    schema: SchemaRollup = SchemaRollup()
    temporal: TemporalRollup = TemporalRollup()
    quality: QualityRollup = QualityRollup()

    def __add__(self, other: Rollup) -> Rollup:
        return Rollup(
            self.schema + other.schema, self.temporal + other.temporal, self.quality + other.quality
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC."""
        first, last = self.temporal.first_ts, self.temporal.last_ts
        return {
            "schema": {
                "nulls": dict(self.schema.nulls),
                "least": dict(self.schema.least),
                "greatest": dict(self.schema.greatest),
            },
            "temporal": {
                "rows": self.temporal.rows,
                "first_ts": None if first is None else iso(first),
                "last_ts": None if last is None else iso(last),
                "states": dict(self.temporal.states),
            },
            "quality": {"flags": dict(self.quality.flags)},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rollup:
        schema, temporal = values["schema"], values["temporal"]
        first, last = temporal["first_ts"], temporal["last_ts"]
        return cls(
            SchemaRollup(dict(schema["nulls"]), dict(schema["least"]), dict(schema["greatest"])),
            TemporalRollup(
                temporal["rows"],
                None if first is None else to_ns(first),
                None if last is None else to_ns(last),
                dict(temporal["states"]),
            ),
            QualityRollup(dict(values["quality"]["flags"])),
        )


def rollup(frame: pl.DataFrame, states: BarStates | None = None, flags: Flags = EMPTY_FLAGS) -> Rollup:
    """Of rows (BAR_SCHEMA, sorted), the states of their span, and the flags among them."""
    if frame.height:
        ends = frame.select(
            *(pl.col(name).min().alias(f"least {name}") for name in VALUES),
            *(pl.col(name).max().alias(f"greatest {name}") for name in VALUES),
        ).row(0, named=True)
        ts = stamps(frame)
        temporal = TemporalRollup(frame.height, int(ts[0]), int(ts[-1]))
    else:
        ends, temporal = {}, TemporalRollup()
    schema = SchemaRollup(
        {name: frame[name].null_count() for name in VALUES},
        {name: ends[f"least {name}"] for name in VALUES if _is_number(ends.get(f"least {name}"))},
        {name: ends[f"greatest {name}"] for name in VALUES if _is_number(ends.get(f"greatest {name}"))},
    )
    counts = np.bincount(flags.codes, minlength=len(RULE_IDS)).tolist()
    flagged = {rule: count for rule, count in zip(RULE_IDS, counts, strict=True) if count}
    if states is not None:
        temporal = TemporalRollup(temporal.rows, temporal.first_ts, temporal.last_ts, dict(states.counts))
        flagged |= {rule: states.grid.count(cells) for rule, cells in flags.spans.items()}
    return Rollup(schema, temporal, QualityRollup(flagged))


def rollups(frame: pl.DataFrame) -> dict[str, Rollup]:
    """Of a long frame (a `series` column with node ids beside BAR_SCHEMA): one per symbol and timeframe."""
    parts = frame.partition_by("series", as_dict=True, maintain_order=True, include_key=False)
    return {str(key[0]): rollup(part.sort("ts")) for key, part in parts.items()}


def merge(parts: Iterable[Rollup]) -> Rollup:
    """Of parts that do not overlap, in any order."""
    return reduce(Rollup.__add__, parts, Rollup())


def merge_series(*parts: Mapping[str, Rollup]) -> dict[str, Rollup]:
    """The same, for rollups per series."""
    return reduce(lambda left, right: _merged(left, right, Rollup.__add__), parts, {})


def _merged(left: Mapping[str, Any], right: Mapping[str, Any], combine: Any) -> dict[str, Any]:
    both = {key: combine(left[key], right[key]) for key in left.keys() & right.keys()}
    return {
        key: both[key] if key in both else (left.get(key, right.get(key)))
        for key in [*left, *(right.keys() - left.keys())]
    }


def _is_number(value: float | None) -> bool:
    return value is not None and value == value
