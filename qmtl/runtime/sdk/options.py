"""What can be asked of a fetch beside series and range, and whether it makes sense."""

from __future__ import annotations

import math
from typing import Any, TypedDict

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.times import to_ns
from qmtl.runtime.ingest.backfill_result import OnProgress
from qmtl.runtime.planning.request import Fill, check_range, strategy_named


class FetchOptions(TypedDict, total=False):
    """The options of `SeamlessDataProvider.fetch`."""

    strategy: str
    sla: SLAPolicy | None
    partial_ok: bool | None
    as_of: Any
    fill: Fill | None
    on_progress: OnProgress | None
    progress: bool | None


def check_fill(fill: object, series: object = None) -> None:
    """Raise `InvalidRequestError` for what is neither "flat", "null" nor None."""
    if fill not in (None, "flat", "null"):
        raise InvalidRequestError(
            f"fill {fill!r} is neither 'flat' nor 'null'", series=series, next_step="use one of them, or None"
        )


def check_policy(policy: object, series: object = None) -> None:
    """Raise `InvalidRequestError` for what is no `SLAPolicy`."""
    if policy is not None and not isinstance(policy, SLAPolicy):
        raise InvalidRequestError(
            f"sla {policy!r} is not an SLAPolicy",
            series=series,
            next_step="write SLAPolicy(total='2s', ...), or SLAPolicy.from_mapping({...})",
        )


def check_max_bytes(max_bytes: object) -> None:
    """Raise `InvalidRequestError` for what is no number of bytes above zero."""
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise InvalidRequestError(
            f"max_bytes {max_bytes!r} is not a number of bytes", next_step="give a whole number above 0"
        )


def check_max_staleness(seconds: object) -> None:
    """Raise `InvalidRequestError` for what is no number of seconds, zero or more."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise InvalidRequestError(
            f"max_staleness {seconds!r} is not a number of seconds",
            next_step="give 0 to ask the store at each request, or a number above it",
        )


def check_common(start: Any, end: Any, options: FetchOptions) -> None:
    """What is wrong for every series alike is no fault of one of them: raise it before any is asked for."""
    unknown = [name for name in options if name not in FetchOptions.__annotations__]
    if unknown:
        raise TypeError(
            f"a fetch has no option {unknown[0]!r}; it has {', '.join(FetchOptions.__annotations__)}"
        )
    first = to_ns(start, name="start")
    if end is not None:
        check_range(first, to_ns(end, name="end"))
    check_fill(options.get("fill"))
    check_policy(options.get("sla"))
    strategy_named(options.get("strategy", "SEAMLESS"))
    if options.get("as_of") is not None:
        to_ns(options["as_of"], name="as_of")
