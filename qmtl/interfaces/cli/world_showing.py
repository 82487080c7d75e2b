"""Worlds and their plans, as people and as machines read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.interfaces.cli.guard import error_json
from qmtl.interfaces.cli.tables import Rows
from qmtl.runtime.sdk.from_settings import vendor_name

if TYPE_CHECKING:
    from qmtl.interfaces.cli.session import Session
    from qmtl.runtime.sdk.world_plan import Applied, PresetPlan, WorldPlan
    from qmtl.runtime.worlds.plan import Cost
    from qmtl.runtime.worlds.world import WorldPreset


def resolved(preset: WorldPreset) -> dict[str, Any]:
    """Everything that holds for an input; durations in seconds."""
    window, policy = preset.window, preset.sla.policy
    budgets = {name: getattr(policy, name) for name in policy.__slots__ if getattr(policy, name) is not None}
    return {
        "id": preset.id,
        "preset": preset.preset,
        "defined in": preset.origin,
        "series": [series.text for series in preset.series],
        "vendor": None if preset.vendor is None else vendor_name(preset.vendor),
        "declared": preset.facts.to_mapping() or None,
        "schema": preset.schema_subject,
        "warmup_bars": window.warmup_bars,
        "min_history_s": window.min_history,
        "backfill_start": None if window.backfill_start is None else iso(window.backfill_start),
        "stabilization_bars": window.stabilization_bars,
        "sla": f"{preset.sla_preset}: {preset.sla.meaning}",
        "budgets": budgets,
        "conformance": f"{preset.conformance_preset}: {preset.conformance.meaning}",
        "backfill": f"{preset.backfill_mode}: {preset.strategy}",
        "publish_fingerprint": preset.publish_fingerprint,
        "max_lag_s": preset.live.max_lag,
        "allow_partial": preset.live.allow_partial,
    }


def cell(value: object) -> str:
    """A value of `resolved` for people; of many series the first."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            shown = ", ".join(map(str, value[:5]))
            return shown if len(value) <= 5 else f"{shown} and {len(value) - 5:,} more"
        case dict():
            return ", ".join(f"{name} {cell(one)}" for name, one in value.items())
    return str(value)


def plan_parts(plan: WorldPlan) -> list[Rows | str]:
    """What would be fetched, and how ready the inputs are."""
    rows = [_row(one) for one in plan.presets]
    measured = "measured in this store" if plan.measured else "measured elsewhere: this store has no bars yet"
    return [
        f"world {plan.world.id}",
        Rows(_COLUMNS, rows),
        f"disk at {plan.bytes_per_bar:.1f} bytes a bar, {measured}; requests are at least so many",
        readiness_rows(plan),
    ]


_COLUMNS = (
    *("preset", "series", "from", "to", "bars", "there", "to fetch"),
    *("source", "requests", "time", "disk"),
)


def _row(one: PresetPlan) -> tuple[object, ...]:
    cost = one.cost
    return (
        one.preset.id,
        f"{len(one.preset.series):,}",
        iso(one.history.start),
        iso(one.history.end),
        f"{cost.expected:,}",
        f"{cost.answered:,}",
        f"{cost.to_fetch:,}",
        _source(one),
        "not known" if cost.requests is None else f"{cost.requests:,}",
        "not known" if cost.seconds is None else _time(cost.seconds),
        _size(cost.bytes),
    )


def _source(one: PresetPlan) -> str:
    if one.paging is None:
        return one.source
    return f"{one.source} ({one.paging.rows:,} bars a request, {one.paging.per_second:g} a second)"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def readiness_rows(plan: WorldPlan) -> Rows:
    """What was looked at, and what was found."""
    return Rows(
        ("outcome", "preset", "what", "found"),
        (
            (check.outcome, one.preset.id, check.subject, check.why)
            for one in plan.presets
            for check in one.checks
        ),
        prose=("found",),
    )


def plan_json(plan: WorldPlan) -> dict[str, Any]:
    """The plan of a world; times are ISO 8601 UTC, null is not known."""
    return {
        "world": plan.world.id,
        "ready": plan.is_ready,
        "bytes_per_bar": round(plan.bytes_per_bar, 3),
        "bytes_per_bar_measured": plan.measured,
        "presets": [
            {
                "id": one.preset.id,
                "preset": one.preset.preset,
                "ready": one.is_ready,
                "start": iso(one.history.start),
                "end": iso(one.history.end),
                "source": one.source,
                "bars_a_request": None if one.paging is None else one.paging.rows,
                "requests_a_second": None if one.paging is None else one.paging.per_second,
                **_cost(one.cost),
                "series": {name: _cost(cost) for name, cost in one.costs.items()},
                "readiness": [check._asdict() for check in one.checks],
            }
            for one in plan.presets
        ],
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "bars": cost.expected,
        "answered": cost.answered,
        "to_fetch": cost.to_fetch,
        "requests": cost.requests,
        "seconds": cost.seconds,
        "bytes": cost.bytes,
    }


def applied_parts(done: list[Applied]) -> list[Rows | str]:
    """The states after the fetch, what failed and did not stop the others, and fingerprints."""
    parts: list[Rows | str] = []
    rows = [
        (one.preset.id, name, *(f"{count:,}" for count in states.counts.values()))
        for one in done
        for name, states in one.states.items()
    ]
    if rows:
        columns = ("preset", "series", "present", "no_trade", "closed", "absent", "unknown")
        parts.append(Rows(columns, rows))
    failed = [(one.preset, name, error) for one in done for name, error in one.errors.items()]
    if failed:
        parts.append(f"{counted(len(failed), 'series failed', 'series failed')}; the others went on:")
        parts += [f"{name}: {error.what}" for _, name, error in failed]
    prints = [(name, value) for one in done for name, value in one.fingerprints.items()]
    if prints:
        parts.append(Rows(("series", "fingerprint"), prints))
    return parts


def applied_json(session: Session, one: Applied) -> dict[str, Any]:
    """What came of filling an input."""
    return {
        "id": one.preset.id,
        "counts": {name: states.counts for name, states in one.states.items()},
        "errors": {name: error_json(session, error) for name, error in one.errors.items()},
        "fingerprints": dict(one.fingerprints),
    }
