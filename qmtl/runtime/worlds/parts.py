"""The sections that presets and worlds share: of presets they are defaults, a world overrides them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from difflib import get_close_matches
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.sections import Seconds, Section
from qmtl.foundation.times import to_ns
from qmtl.runtime.worlds.policies import BACKFILL_MODES, CONFORMANCE_PRESETS, SLA_PRESETS


def unknown_name(name: object, known: Iterable[str], what: str) -> InvalidRequestError:
    """What to say of a name that is not among those known: the nearest, or all of them."""
    names = list(known)
    near = [one for one in names if name and one.startswith(str(name))][:1]
    near = near or get_close_matches(str(name), names, n=1)
    return InvalidRequestError(
        f"there is no {what} {name!r}",
        next_step=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}",
    )


def _known(table: Iterable[str], what: str, value: object) -> object:
    """The value, if a table has it as a name."""
    names = list(table)
    if not isinstance(value, str) or value not in names:
        raise unknown_name(value, names, what)
    return value


def _enumerated(table: Iterable[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(table)})


def _instant(value: object) -> object:
    if isinstance(value, date | str):  # a datetime is a date, too
        return to_ns(value, name="backfill_start")
    raise InvalidRequestError(
        f"{value!r} is not a date",
        next_step="write a date such as 2024-01-01, or a time such as 2024-01-01T09:30:00Z",
    )


Instant = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"type": "string"})]
SLAName = Annotated[
    str, BeforeValidator(partial(_known, SLA_PRESETS, "SLA preset")), _enumerated(SLA_PRESETS)
]
ConformanceName = Annotated[
    str,
    BeforeValidator(partial(_known, CONFORMANCE_PRESETS, "conformance preset")),
    _enumerated(CONFORMANCE_PRESETS),
]
BackfillModeName = Annotated[
    str, BeforeValidator(partial(_known, BACKFILL_MODES, "backfill mode")), _enumerated(BACKFILL_MODES)
]


class WindowPart(Section):
    """How much history belongs to it.

    warmup_bars: bars that an input has seen before its strategy runs. min_history: how far back history
        reaches at least. backfill_start: where history begins; without it, `min_history` or the warm-up ago,
        whichever is longer.
    """

    warmup_bars: Annotated[int, Field(ge=0, strict=True)] | None = None
    min_history: Seconds | None = None
    backfill_start: Instant | None = None


class SeamlessPart(Section):
    """How its bars are fetched and judged.

    stabilization_bars: how many of the newest closed bars are held back, since their source may still correct
        them. publish_fingerprint: whether the fingerprint of the history of each series is told with it.
    """

    sla_preset: SLAName | None = None
    conformance_preset: ConformanceName | None = None
    backfill_mode: BackfillModeName | None = None
    stabilization_bars: Annotated[int, Field(ge=0, strict=True)] | None = None
    publish_fingerprint: Annotated[bool, Field(strict=True)] | None = None


class LivePart(Section):
    """What holds near the present.

    max_lag: by how much the newest bar may trail the newest one that is due. allow_partial: whether others go
        on where a series is behind.
    """

    max_lag: Seconds | None = None
    allow_partial: Annotated[bool, Field(strict=True)] | None = None
