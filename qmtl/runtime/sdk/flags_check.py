"""Whether flags that a store has kept are those that the rules find now."""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules_key import rules_key
from qmtl.runtime.io.judged import read_judged
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import Judged, Point
from qmtl.runtime.sdk.series_profile import ProfileResolver


class FlagsCheck(NamedTuple):
    """What `verify_flags` has found.

    ranges: how many were found again. other_rules: how many were found by other rules than those of this
    provider, and are not used by it. differing: the bars of those whose flags are not what the rules find.
    """

    ranges: int
    other_rules: int
    differing: list[tuple[SeriesId, Span]]


def check_flags(
    store: Store, pipeline: ConformancePipeline, profiles: ProfileResolver, *, repair: bool
) -> FlagsCheck:
    """Find all flags again that are kept by the rules in force. repair: keep these where others were."""
    ranges = other_rules = 0
    differing: list[tuple[SeriesId, Span]] = []
    for series in [one.series for one in store.list_series()]:
        profile = profiles.of(series)
        rules = rules_key(pipeline.thresholds, profile.grid, profile.facts, profile.schema.schema)
        for by, kept in store.kept_flags(series):
            if by != rules:
                other_rules += 1
                continue
            ranges += 1
            snapshot, flags = read_judged(
                store, pipeline, series, kept.span, grid=profile.grid, facts=profile.facts
            )
            if flags == kept.flags:
                continue
            differing.append((series, kept.span))
            if repair:
                seen = Point(snapshot.tx, snapshot.as_of)
                store.keep_flags([Judged(series, rules, seen, kept._replace(flags=flags))])
    return FlagsCheck(ranges, other_rules, differing)
