"""What work on many series amounts to: counts per rule and series that merge in any order, worst first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.html import table, title
from qmtl.foundation.pickled import pickled
from qmtl.foundation.states import STATES
from qmtl.foundation.texts import on_screen
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.conformance.rules import RULE_IDS, RULES

# A failure is a few lines. What an error carries beside them stays where it was met.
_MOST_TEXT = 300


class Failure(NamedTuple):
    """Why the work on a series did not come to its end. kind: the class of the error, or `WorkerLost`."""

    kind: str
    what: str
    why: str = ""
    next_step: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The facts of an error, without what it carries."""
        kind = type(error).__name__
        if not isinstance(error, QmtlError):
            return cls(kind, _short(str(error) or kind))
        return cls(kind, _short(error.what), _short(error.why), _short(error.next_step))


class Found(NamedTuple):
    """How many bars (for rules of frequency: cells) a rule names, and how many of them raise in a fetch."""

    bars: int
    raises: int


@dataclass(frozen=True)
class SeriesRollup:
    """One series: bars per state, of them those that had not closed, what was found, and what failed.

    uncoordinated: why other machines may have asked for the same bars, although there is a coordinator.
    `+` is associative and commutative: of ranges that do not overlap, counts add up.
    """

    states: Mapping[str, int] = field(default_factory=dict)
    not_closed: int = 0
    found: Mapping[str, Found] = field(default_factory=dict)
    failures: frozenset[Failure] = frozenset()
    uncoordinated: frozenset[str] = frozenset()

    @classmethod
    def of(cls, report: ConformanceReport, not_closed: int) -> SeriesRollup:
        """What a report amounts to. not_closed: bars of its range that had not closed."""
        found: dict[str, Found] = {}
        for one in report.findings:
            _add(found, one.rule, Found(one.count, one.raises))
        states = {state: count for state, count in report.rollup.temporal.states.items() if count}
        return cls(states, not_closed, found)

    def __add__(self, other: SeriesRollup) -> SeriesRollup:
        states = dict(self.states)
        for state, count in other.states.items():
            states[state] = states.get(state, 0) + count
        found = dict(self.found)
        for rule, more in other.found.items():
            _add(found, rule, more)
        return SeriesRollup(
            states,
            self.not_closed + other.not_closed,
            found,
            self.failures | other.failures,
            self.uncoordinated | other.uncoordinated,
        )

    @property
    def missing(self) -> int:
        """Closed bars that nobody has answered for, or that the source says it has not."""
        return self.states.get("unknown", 0) + self.states.get("absent", 0) - self.not_closed

    def raising(self, severity: str) -> int:
        """Bars of a severity, "error" or "warning", that raise in a fetch."""
        return sum(one.raises for rule, one in self.found.items() if RULES[rule].severity == severity)

    @property
    def badness(self) -> tuple[int, ...]:
        """The larger, the worse: failures, errors, warnings, missing bars, and what is said beside."""
        beside = sum(one.bars for one in self.found.values())
        return (len(self.failures), self.raising("error"), self.raising("warning"), self.missing, beside)

    def to_json(self) -> dict[str, Any]:
        return {
            "states": {state: self.states.get(state, 0) for state in STATES},
            "not_closed": self.not_closed,
            "missing": self.missing,
            "errors": self.raising("error"),
            "warnings": self.raising("warning"),
            "rules": {rule: one._asdict() for rule, one in _in_order(self.found)},
            "failures": [one._asdict() for one in sorted(self.failures)],
            "uncoordinated": sorted(self.uncoordinated),
        }


@dataclass(frozen=True)
class UniverseReport:
    """What `backfill_many` and `revalidate` give.

    work: "backfill" or "revalidate". span: the range asked for. series: by node id, as they were done;
    `worst_first` has an order. `r[series]` is that of one series; `in`, `len` and iteration are of node ids.
    Reports of one work on parts of a universe merge: `+` is associative and commutative.
    """

    work: str
    span: Span
    series: Mapping[str, SeriesRollup]

    def __add__(self, other: UniverseReport) -> UniverseReport:
        if self.work != other.work:
            raise InvalidRequestError(f"reports of a {self.work} and of a {other.work} do not merge")
        series = dict(self.series)
        merge_into(series, other.series)
        span = Span(min(self.span.start, other.span.start), max(self.span.end, other.span.end))
        return UniverseReport(self.work, span, series)

    def __getitem__(self, series: object) -> SeriesRollup:
        return self.series[str(series)]

    def __contains__(self, series: object) -> bool:
        return str(series) in self.series

    def __iter__(self) -> Any:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.series)

    __hash__ = None  # type: ignore[assignment]  # it holds mappings

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(UniverseReport, self.work, self.span, dict(self.series))

    @property
    def states(self) -> dict[str, int]:
        """Bars per state, of all series."""
        return {state: sum(one.states.get(state, 0) for one in self.series.values()) for state in STATES}

    @property
    def missing(self) -> int:
        """Closed bars of all series that are unknown or absent."""
        return sum(one.missing for one in self.series.values())

    @property
    def errors(self) -> int:
        """Bars of all series that break an error rule."""
        return sum(one.raising("error") for one in self.series.values())

    @property
    def warnings(self) -> int:
        """Bars of all series that break a warning rule and were not accepted."""
        return sum(one.raising("warning") for one in self.series.values())

    @property
    def failures(self) -> dict[str, tuple[Failure, ...]]:
        """Why series have failed, by node id."""
        return {name: tuple(sorted(one.failures)) for name, one in self.worst_first if one.failures}

    @property
    def uncoordinated(self) -> list[str]:
        """The node ids of which other machines may have asked for the same bars."""
        return [name for name, one in self.worst_first if one.uncoordinated]

    @property
    def worst_first(self) -> list[tuple[str, SeriesRollup]]:
        """By failures, errors, warnings and missing bars; what is alike by name."""
        return sorted(self.series.items(), key=lambda item: ([-bad for bad in item[1].badness], item[0]))

    @property
    def rules(self) -> list[tuple[str, int, Found]]:
        """Each rule that was broken, of how many series, and by how many bars; the most severe first."""
        whole: dict[str, Found] = {}
        series: dict[str, int] = {}
        for one in self.series.values():
            for rule, found in one.found.items():
                _add(whole, rule, found)
                series[rule] = series.get(rule, 0) + 1
        by_severity = ("error", "warning", "info")
        return sorted(
            ((rule, series[rule], found) for rule, found in whole.items()),
            key=lambda row: (by_severity.index(RULES[row[0]].severity), -row[2].bars, row[0]),
        )

    @property
    def passes(self) -> bool:
        """Whether no series failed, nothing raises, and no closed bar is missing."""
        return not any(any(one.badness[:4]) for one in self.series.values())

    def command(self, series: str) -> str:
        """What to run next for a series; empty where nothing is to be done."""
        one = self.series[series]
        if one.failures:
            return self._command(self.work, series)
        if one.missing:
            return self._command("backfill", series)
        if one.raising("error") or one.raising("warning"):
            return f"qmtl reports show {shlex.quote(series)}"
        return ""

    def _command(self, work: str, series: str) -> str:
        return f"qmtl {work} {shlex.quote(series)} {iso(self.span.start)} {iso(self.span.end)}"

    @property
    def frame(self) -> pl.DataFrame:
        """A row per series, worst first: the five states, missing, errors, warnings, the first failure."""
        rows = [
            {
                "series": name,
                **{state: one.states.get(state, 0) for state in STATES},
                "missing": one.missing,
                "errors": one.raising("error"),
                "warnings": one.raising("warning"),
                "failure": next((f"{f.kind}: {f.what}" for f in sorted(one.failures)), None),
            }
            for name, one in self.worst_first
        ]
        counts = (*STATES, "missing", "errors", "warnings")
        return pl.DataFrame(
            rows,
            schema={"series": pl.String, **dict.fromkeys(counts, pl.Int64), "failure": pl.String},
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC. Series and rules worst first."""
        return {
            "work": self.work,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "passes": self.passes,
            "errors": self.errors,
            "warnings": self.warnings,
            "missing": self.missing,
            "failed": len(self.failures),
            "uncoordinated": len(self.uncoordinated),
            "states": self.states,
            "rules": [
                {"rule": rule, "severity": RULES[rule].severity, "series": series, **found._asdict()}
                for rule, series, found in self.rules
            ],
            "series": [
                {"series": name, **one.to_json(), "next": self.command(name) or None}
                for name, one in self.worst_first
            ],
        }

    @property
    def outcome(self) -> str:
        """In a few words."""
        parts = [
            counted(len(self.failures), "series failed", "series failed") if self.failures else "",
            counted(self.errors, "error") if self.errors else "",
            counted(self.warnings, "warning") if self.warnings else "",
            counted(self.missing, "bar missing", "bars missing") if self.missing else "",
        ]
        alone = f", {len(self.uncoordinated):,} series uncoordinated" if self.uncoordinated else ""
        return (", ".join(filter(None, parts)) or "passes") + alone

    def __repr__(self) -> str:
        head = f"UniverseReport({self.work} {self.span}: {len(self):,} series, {self.outcome})"
        states = ", ".join(f"{state} {count:,}" for state, count in self.states.items() if count)
        rules = (
            f"  {RULES[rule].severity} {rule}: {counted(found.bars, 'bar')} of {series:,} series"
            for rule, series, found in self.rules
        )
        worst = (f"  {name}: {text}" for name, one in self.worst_first if (text := described(one)))
        return on_screen([head, f"  {states or 'no bars'}", *rules, *worst])

    def _repr_html_(self) -> str:
        head = f"{self.work} {self.span}: {len(self):,} series, {self.outcome}"
        rules = [
            (RULES[rule].severity, rule, series, found.bars, RULES[rule].meaning)
            for rule, series, found in self.rules
        ]
        rows = [
            (name, *(one.states.get(state, 0) for state in STATES), described(one), self.command(name))
            for name, one in self.worst_first
        ]
        return (
            title(head)
            + (table(("severity", "rule", "series", "bars", "meaning"), rules) if rules else "")
            + table(("series", *STATES, "what is wrong", "next"), rows)
        )


def described(one: SeriesRollup) -> str:
    """What is wrong with a series, in a line; empty where nothing is."""
    parts = [
        f"{failure.kind}: {failure.what}{f' ({failure.why})' if failure.why else ''}"
        for failure in sorted(one.failures)
    ]
    errors, warnings = one.raising("error"), one.raising("warning")
    parts += [counted(errors, "error")] if errors else []
    parts += [counted(warnings, "warning")] if warnings else []
    parts += [f"{counted(one.missing, 'bar')} missing"] if one.missing else []
    parts += [f"uncoordinated: {why}" for why in sorted(one.uncoordinated)]
    return ", ".join(parts)


def merge_into(whole: dict[str, SeriesRollup], part: Mapping[str, SeriesRollup]) -> None:
    """Add rollups to others, in place: what is known of a universe grows by one task after the other."""
    for name, one in part.items():
        known = whole.get(name)
        whole[name] = one if known is None else known + one


def _add(found: dict[str, Found], rule: str, more: Found) -> None:
    known = found.get(rule, Found(0, 0))
    found[rule] = Found(known.bars + more.bars, known.raises + more.raises)


def _in_order(found: Mapping[str, Found]) -> Iterable[tuple[str, Found]]:
    return sorted(found.items(), key=lambda item: RULE_IDS.index(item[0]))


def _short(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"
