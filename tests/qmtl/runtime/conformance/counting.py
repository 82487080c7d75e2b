"""How much of what was flagged raises, as the report that a caller gets counts it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.pipeline import ConformancePipeline


class Raising(NamedTuple):
    """Bars that break an error rule, and bars that break a warning rule and were not accepted."""

    errors: int
    warnings: int


def raising(
    frame: pl.DataFrame, flags: Flags, states: BarStates, accepted: Iterable[Accepted] = ()
) -> Raising:
    """What the report of a frame with these flags, and nothing else, counts."""
    report = ConformancePipeline().report(
        series=SeriesId.parse("ohlcv:test:A/B:1m"),
        frame=frame,
        states=states,
        flags=flags,
        fingerprint="",
        as_of=None,
        accepted=accepted,
    )
    assert report.passes == (report.errors == report.warnings == 0)
    return Raising(report.errors, report.warnings)
