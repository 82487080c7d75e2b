"""What an answer may cost: budgets that cancel, bounds on the answer, and what happens on a breach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Literal

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import to_seconds

OnBreach = Literal["raise", "partial"]
Duration = float | timedelta | str

DURATIONS = ("storage_wait", "backfill_wait", "live_wait", "total", "max_lag")


@dataclass(frozen=True, slots=True, init=False)
class SLAPolicy:
    """Budgets and bounds of a fetch; None is no limit.

    storage_wait, backfill_wait, live_wait, total: seconds that a phase, and the whole, may take. A budget
        that is spent cancels the phase.
    sync_gap: bars that may be missing before a vendor is asked within the request.
    min_coverage: the fraction (0 to 1) of closed bars that the sources must have answered for.
    max_lag: seconds by which the newest answered bar may trail the newest closed one.
    on_breach: "raise" (`SeamlessSLAExceeded`) or "partial" (what there is, holes included).

    Durations are given as seconds, a `timedelta` or a text such as "2s", and are kept as seconds. Raises
    `InvalidRequestError` for a value that cannot be used.
    """

    storage_wait: float | None
    backfill_wait: float | None
    live_wait: float | None
    total: float | None
    sync_gap: int | None
    min_coverage: float | None
    max_lag: float | None
    on_breach: OnBreach

    def __init__(
        self,
        storage_wait: Duration | None = None,
        backfill_wait: Duration | None = None,
        live_wait: Duration | None = None,
        total: Duration | None = None,
        sync_gap: int | None = None,
        min_coverage: float | None = None,
        max_lag: Duration | None = None,
        on_breach: OnBreach = "raise",
    ) -> None:
        given = (storage_wait, backfill_wait, live_wait, total, max_lag)
        values: dict[str, Any] = {
            name: None if value is None else to_seconds(value, name=name)
            for name, value in zip(DURATIONS, given, strict=True)
        }
        values |= {"sync_gap": _bars(sync_gap), "min_coverage": _fraction(min_coverage)}
        values["on_breach"] = _one_of_the_two(on_breach)
        for field in fields(self):
            object.__setattr__(self, field.name, values[field.name])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> SLAPolicy:
        """From the keys of qmtl.yml or of an `--sla` file. Raises `InvalidRequestError`."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                from difflib import get_close_matches  # needed only to explain a slip

                near = get_close_matches(str(key), known, n=1)
                raise InvalidRequestError(
                    f"{key!r} is not a key of an SLA",
                    next_step=f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}",
                )
        return cls(**values)


def _bars(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise InvalidRequestError(f"sync_gap {value!r} is not a number of bars", next_step="give an int >= 0")


def _fraction(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise InvalidRequestError(
        f"min_coverage {value!r} is not a fraction", next_step="give a number from 0 to 1, such as 0.99"
    )


def _one_of_the_two(value: Any) -> OnBreach:
    if value == "raise" or value == "partial":
        chosen: OnBreach = value
        return chosen
    raise InvalidRequestError(f"on_breach {value!r} is not known", next_step="use 'raise' or 'partial'")
