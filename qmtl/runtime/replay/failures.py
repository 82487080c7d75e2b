"""What is told of the bar at which a strategy fails, or orders what cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qmtl.foundation.errors import QmtlError, StrategyError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import iso
from qmtl.runtime.replay.bars import Bar
from qmtl.runtime.replay.events import Shown


def failed_at(strategy: object, bar: Bar, nodes: Mapping[str, Any], cause: BaseException) -> StrategyError:
    """Of an error that `on_bar` raised."""
    return StrategyError(
        f"{type(strategy).__name__}.on_bar raised {type(cause).__name__}: {cause}",
        series=bar.series,
        why=f"at the bar that opened at {iso(bar.ts)}, close {bar.close!r}{_with(nodes)}",
        bar_ts=bar.ts,
        nodes=nodes,
    )


def failed_when_told(
    strategy: object, method: str, series: SeriesId, ts: int, now: int, cause: BaseException
) -> StrategyError:
    """Of an error that `on_gap` or `on_revision` raised. ts: of the bar that it was told of."""
    return StrategyError(
        f"{type(strategy).__name__}.{method} raised {type(cause).__name__}: {cause}",
        why=f"at {iso(now)}, told of the bar of {series} that opens at {iso(ts)}",
        bar_ts=ts,
    )


def name_bar(error: QmtlError, series: SeriesId, ts: int, nodes: Mapping[str, Any]) -> None:
    """Say in an error, which tells what to do, at which bar it came up, and what nodes were worth then."""
    where = f"at the bar of {series} that opens at {iso(ts)}{_with(nodes)}"
    error.why = where if error.why is None else f"{error.why}; {where}"
    error.series = error.series or series.text


def _with(nodes: Mapping[str, Any]) -> str:
    values = ", ".join(f"{name} {value!r}" for name, value in nodes.items())
    return f", with {values}" if values else ""


def bar_at(parts: Sequence[Shown], series: SeriesId, now: int) -> tuple[int, dict[str, Any]]:
    """When the first bar opened that a series has at a time, and what nodes are worth at it."""
    part = next(one for one in parts if one.tape.series == series)
    at = int(np.searchsorted(part.known, now))
    opened = int(stamps(part.tape.rows)[part.places[at]])
    return opened, {name: of[at : at + 1].tolist()[0] for name, of in part.nodes.items()}
