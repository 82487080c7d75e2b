"""What is checked: every rule with its stable id, severity, meaning and advice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from blake3 import blake3

from qmtl.runtime.conformance.thresholds import DEFAULT_THRESHOLDS as DEFAULT_THRESHOLDS
from qmtl.runtime.conformance.thresholds import Thresholds as Thresholds

Severity = Literal["error", "warning", "info"]
Stage = Literal["storage", "schema", "temporal", "quality"]

SILENCE = "temporal.silence"
EMPTY_ROW = "temporal.empty_row"
MISSING_VOLUME = "schema.missing_volume"
NO_VOLUME = "quality.no_volume"
REPLACED = "quality.replaced"
PRICE_SPIKE = "quality.price_spike"
PRICE_JUMP = "quality.price_jump"
LEVEL_SHIFT = "quality.level_shift"
DAMAGED = "storage.damaged"


class Rule(NamedTuple):
    """One thing that can be wrong, or worth knowing, about bars.

    error: impossible data, never stored. warning: suspicious, stored and raised until accepted. info:
    reported only.
    """

    id: str
    severity: Severity
    stage: Stage
    meaning: str
    advice: str


_CATALOGUE = (
    Rule(
        DAMAGED,
        "error",
        "storage",
        "the stored bytes of the bars do not match their checksums, so that what was stored is lost",
        "fetch them again, or bring the store back from a backup; 'qmtl store verify' names all damage",
    ),
    Rule(
        "schema.missing_price",
        "error",
        "schema",
        "open, high, low or close is null, but not all of them, or there is a volume",
        "ask the source again; a bar without trades has no price at all",
    ),
    Rule(
        MISSING_VOLUME,
        "error",
        "schema",
        "volume is null, NaN or infinite, and the series is not declared has_volume: false",
        "ask the source again, or declare has_volume: false",
    ),
    Rule(
        "temporal.off_grid",
        "error",
        "temporal",
        "the bar opens where no bar of this timeframe may open",
        "check the timeframe, the zone and the anchor (clock or session) of the series",
    ),
    Rule(
        "temporal.forming_bar",
        "error",
        "temporal",
        "the bar had not closed when it was fetched, so its values are not final",
        "ask again after it has closed",
    ),
    Rule(
        "temporal.conflicting_rows",
        "error",
        "temporal",
        "one answer holds two different rows for one bar, and nothing tells which is right",
        "ask the source again",
    ),
    Rule(
        "quality.non_finite_price",
        "error",
        "quality",
        "a price is NaN or infinite",
        "ask the source again",
    ),
    Rule(
        "quality.nonpositive_price",
        "error",
        "quality",
        "a price is zero or less",
        "ask the source again, or declare allow_nonpositive: true where such prices are real",
    ),
    Rule(
        "quality.high_below_low",
        "error",
        "quality",
        "the high is below the low",
        "check which columns were mapped to high and low",
    ),
    Rule(
        "quality.high_not_highest",
        "error",
        "quality",
        "the high is below the open or the close",
        "check which columns were mapped; ask the source again",
    ),
    Rule(
        "quality.low_not_lowest",
        "error",
        "quality",
        "the low is above the open or the close",
        "check which columns were mapped; ask the source again",
    ),
    Rule(
        "quality.negative_volume",
        "error",
        "quality",
        "the volume is below zero",
        "ask the source again",
    ),
    Rule(
        SILENCE,
        "warning",
        "temporal",
        "bars without a trade, where the series' own rhythm makes that implausible: an outage, most likely",
        "ask another source, or accept the span",
    ),
    Rule(
        "temporal.other_timeframe",
        "warning",
        "temporal",
        "all neighbouring bars lie a common multiple of the step apart, as bars of a longer timeframe do",
        "check the timeframe of the source",
    ),
    Rule(
        "temporal.closed_day",
        "warning",
        "temporal",
        "a bar further than nine hours from any session that the calendar knows; daily: on a day without one",
        "check the calendar and the zone of the series, or accept the bars",
    ),
    Rule(
        PRICE_SPIKE,
        "warning",
        "quality",
        "the price leaves its surroundings and comes back, further than the bars around explain",
        "compare with another source; accept the bar if the print is real",
    ),
    Rule(
        PRICE_JUMP,
        "warning",
        "quality",
        "the price jumps further than the range of the series makes plausible, and stays: a split that was "
        "not adjusted, another instrument under the same name, or rare news",
        "compare with another source; adjust for splits before computing returns; accept a bar that is real",
    ),
    Rule(
        "quality.stale_run",
        "warning",
        "quality",
        "the same open, high, low and close are repeated for long, in a series that otherwise moves",
        "a stuck feed, most likely: ask another source",
    ),
    Rule(
        "quality.zero_volume_padding",
        "warning",
        "quality",
        "a flat bar without volume, among many of them: a large share of the bars around are made up",
        "the source fills what did not trade with made-up bars: leave them out of statistics, ask another "
        "source, or accept the bars",
    ),
    Rule(
        "temporal.duplicate",
        "info",
        "temporal",
        "the same row came more than once in one answer; it is kept once",
        "nothing to do",
    ),
    Rule(
        "temporal.extended_hours",
        "info",
        "temporal",
        "a bar outside the sessions, close to one of them",
        "nothing to do",
    ),
    Rule(
        EMPTY_ROW,
        "info",
        "temporal",
        "a row without any price and without volume: the source says that nothing was traded",
        "nothing to do",
    ),
    Rule(
        NO_VOLUME,
        "info",
        "quality",
        "the source has no volumes, as declared",
        "nothing to do",
    ),
    Rule(
        REPLACED,
        "info",
        "quality",
        "a bar was answered twice with different values; the newer answer is served",
        "read as_of an earlier commit to see the older answer",
    ),
    Rule(
        "schema.column_missing",
        "info",
        "schema",
        "a column that the registered schema requires is not there",
        "see what wrote the rows, or roll the schema back; strict refuses the rows",
    ),
    Rule(
        "schema.column_unknown",
        "info",
        "schema",
        "a column that the registered schema does not know, where it allows no others",
        "register the column first; strict refuses the rows",
    ),
    Rule(
        "schema.column_type",
        "info",
        "schema",
        "a column has another type or unit than the registered schema says",
        "see what wrote the rows, or register the type; strict refuses the rows",
    ),
    Rule(
        "schema.null",
        "info",
        "schema",
        "a null where the registered schema allows none",
        "see what wrote the rows, or make the column nullable; strict refuses the rows",
    ),
    Rule(
        "schema.out_of_range",
        "info",
        "schema",
        "a value outside of the range of the registered schema",
        "see what wrote the rows, or widen the range; strict refuses the rows",
    ),
    Rule(
        "schema.not_listed",
        "info",
        "schema",
        "a value that the registered schema does not list",
        "see what wrote the rows, or list the value; strict refuses the rows",
    ),
    Rule(
        LEVEL_SHIFT,
        "info",
        "quality",
        "the price moves far from one bar to the next and stays, as this series may",
        "nothing to do",
    ),
    Rule(
        "quality.volume_spike",
        "info",
        "quality",
        "a volume far above all of its neighbours",
        "nothing to do",
    ),
)

RULES: Mapping[str, Rule] = MappingProxyType({rule.id: rule for rule in _CATALOGUE})

RULE_IDS: tuple[str, ...] = tuple(RULES)
CODE_OF: Mapping[str, int] = MappingProxyType({rule: code for code, rule in enumerate(RULE_IDS)})

# Indexed by code, for counting flags without a loop.
IS_ERROR = np.array([rule.severity == "error" for rule in _CATALOGUE])


def ruleset(thresholds: Thresholds) -> str:
    """16 hex characters that change whenever an id, a severity or a threshold does."""
    lines = [f"{rule.id}={rule.severity}" for rule in _CATALOGUE]
    lines += [f"{name}={value!r}" for name, value in asdict(thresholds).items()]
    return blake3("\n".join(lines).encode()).hexdigest()[:16]


RULESET = ruleset(DEFAULT_THRESHOLDS)
