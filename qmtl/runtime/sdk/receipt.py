"""The proof that comes with an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple

from qmtl.foundation.html import facts_table
from qmtl.foundation.pickled import pickled
from qmtl.foundation.series import SeriesId
from qmtl.foundation.texts import fact_lines, on_screen
from qmtl.foundation.timeline import EMPTY, Coverage, Span, spans_text
from qmtl.foundation.times import iso
from qmtl.runtime.planning.attribution import Served
from qmtl.runtime.planning.ledger import Breach

# How it is known that nobody has committed anything newer.
Freshness = Literal["asked", "notified"]


class Later(NamedTuple):
    """What takes time, and is worked out when somebody first asks for it."""

    served: Callable[[], tuple[Served, ...]]
    fingerprint: Callable[[], str]
    counts: Callable[[], Mapping[str, int]]


class _Facts(NamedTuple):
    # A tuple is made in half the time of a frozen dataclass, and each answer from the cache makes one.
    series: SeriesId
    span: Span
    strategy: str
    calendar: str
    as_of: int
    opened_at: int
    phases: Mapping[str, float]
    not_closed: Coverage
    later: Later
    violations: tuple[str, ...] = ()
    abandoned: tuple[str, ...] = ()
    replaced: int = 0
    breach: Breach | None = None
    archived: bool | None = None
    schema_id: str = "unknown"
    damaged: Coverage = EMPTY
    healed: Coverage = EMPTY
    max_staleness: float = 0.0
    uncoordinated: str | None = None
    at_risk: str | None = None


class Receipt(_Facts):
    """Who served what, in which time, of which point in time; what is not there, and what was violated.

    phases: seconds of storage_wait, backfill_wait, live_wait and other; they sum to `total`.
    not_closed: bars of the range that had not closed when the request was made.
    as_of: the commit (ns) that the data stands for; pass it back to read the same again.
    schema_id: subject and version of the schema that the rows were checked against.
    archived: whether the report of this call was archived; None if it says nothing new, False if the store
        cannot be written, or has no room left.
    damaged: bars that the store has lost to damage, and that are holes of the answer.
    healed: bars that it had lost, and that were fetched again within this call.
    max_staleness: the answer contains every commit that could be seen at the server so many seconds before
        the call, or earlier; 0 where the store was asked within the call.
    uncoordinated: why other machines may have asked a vendor for the same bars, although there is a
        coordinator; None if it did answer, or was not needed.
    at_risk: why a loss of power may take bars that this call has written; None if it wrote none, or the store
        waited for the disk.
    violations: all that would have raised had the answer not been partial, in the order of the errors:
        budgets and bounds, damage, a source that failed, missing bars, findings.
    """

    # What holds for the whole answer is in `to_json`; `later` is only how some of it is worked out.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Receipt) and self._worked_out() == other._worked_out()

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # some of the facts are dicts

    def __reduce__(self) -> tuple[Any, ...]:
        facts = {name: value for name, value in self._asdict().items() if name != "later"}
        return pickled(_restored, facts, self.served, self.fingerprint, self.counts)

    def _worked_out(self) -> tuple[Any, ...]:
        """All facts, worked out."""
        return (*self._replace(later=_NOTHING_LATER), self.served, self.fingerprint, dict(self.counts))

    @property
    def freshness(self) -> Freshness:
        """Whether the store was asked for newer commits, or a notice vouched that there were none."""
        return "notified" if self.max_staleness > 0 else "asked"

    @cached_property
    def served(self) -> tuple[Served, ...]:
        """Sub-ranges by tier and source."""
        return self.later.served()

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of the frame; computed when first asked for."""
        return self.later.fingerprint()

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Bars per state."""
        return self.later.counts()

    def to_json(self) -> dict[str, Any]:
        """As JSON values; times are ISO 8601 UTC."""
        return {
            "series": str(self.series),
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "strategy": self.strategy,
            "calendar": self.calendar,
            "as_of": self.as_of,
            "as_of_iso": iso(self.as_of),
            "opened_at": iso(self.opened_at),
            "schema_id": self.schema_id,
            "fingerprint": self.fingerprint,
            "bars": dict(self.counts),
            "served": [
                {"tier": str(s.tier), "source": s.source, "spans": spans_json(s.cells)} for s in self.served
            ],
            "not_closed": spans_json(self.not_closed),
            "seconds": {phase: round(seconds, 6) for phase, seconds in self.phases.items()},
            "violations": list(self.violations),
            "abandoned": list(self.abandoned),
            "replaced": self.replaced,
            "damaged": spans_json(self.damaged),
            "healed": spans_json(self.healed),
            "uncoordinated": self.uncoordinated,
            "at_risk": self.at_risk,
            "archived": self.archived,
            "freshness": self.freshness,
            "max_staleness": self.max_staleness,
        }

    def __repr__(self) -> str:
        return on_screen(fact_lines(self.lines()))

    def _repr_html_(self) -> str:
        return facts_table(self.lines())

    def lines(self) -> list[tuple[str, str]]:
        """What a person reads, a fact a line."""
        counts = ", ".join(f"{state} {n:,}" for state, n in self.counts.items() if n) or "no bars"
        served = [f"{s.tier} ({s.source}) {spans_text(s.cells)}" for s in self.served] or ["nobody"]
        seconds = ", ".join(f"{phase} {s * 1e3:,.1f} ms" for phase, s in self.phases.items() if s)
        rows = [
            ("series", str(self.series)),
            ("range", str(self.span)),
            ("bars", counts),
            *(("served by", text) for text in served),
            ("calendar", self.calendar),
            ("as of", f"{iso(self.as_of)} ({self.as_of})"),
            ("fingerprint", self.fingerprint),
            ("time", seconds),
        ]
        if self.max_staleness > 0:
            rows.append(("notified", f"of every commit older than {self.max_staleness:g} s"))
        if self.not_closed:
            rows.append(("not closed", spans_text(self.not_closed)))
        if self.damaged:
            rows.append(("damaged", spans_text(self.damaged)))
        if self.healed:
            rows.append(("healed", f"{spans_text(self.healed)}, whose stored bytes were damaged"))
        if self.uncoordinated is not None:
            rows.append(("uncoordinated", self.uncoordinated))
        if self.at_risk is not None:
            rows.append(("at risk", f"a loss of power: {self.at_risk}"))
        rows += [("violation", text) for text in self.violations]
        rows += [("abandoned", text) for text in self.abandoned]
        return rows


def _restored(
    facts: Mapping[str, Any], served: tuple[Served, ...], fingerprint: str, counts: Mapping[str, int]
) -> Receipt:
    return Receipt(**facts, later=Later(lambda: served, lambda: fingerprint, lambda: counts))


_NOTHING_LATER = Later(tuple, str, dict)


def spans_json(cells: Coverage | None) -> list[list[str]]:
    """Spans as pairs of ISO times."""
    return [[iso(s), iso(e)] for s, e in (cells or EMPTY).spans]
