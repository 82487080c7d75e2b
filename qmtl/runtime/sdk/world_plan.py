"""Looks at a world and fills it: asks store, vendors and registry what `worlds` then judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, QmtlError, SettingsError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import BarStates
from qmtl.foundation.timeline import Span
from qmtl.runtime.ingest.backfill_result import OnProgress
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.io.vendors.base import Paging, paging_of
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.sources import name_of
from qmtl.runtime.worlds.plan import BYTES_PER_BAR, Cost, cost_of, together
from qmtl.runtime.worlds.readiness import Check, Known, readiness
from qmtl.runtime.worlds.world import World, WorldPreset

OnSeries = Callable[[int, int], None]


@dataclass(frozen=True)
class PresetPlan:
    """What one input would take, and how ready it is.

    history: from the earliest to the latest of its series. costs: by node id. paging: of the first series.
    """

    preset: WorldPreset
    history: Span
    costs: Mapping[str, Cost]
    cost: Cost
    source: str
    paging: Paging | None
    checks: tuple[Check, ...]

    @property
    def is_ready(self) -> bool:
        return not any(check.outcome == "fail" for check in self.checks)


@dataclass(frozen=True)
class WorldPlan:
    """What a world would take now. bytes_per_bar: by which disk is estimated; measured: in this store."""

    world: World
    presets: tuple[PresetPlan, ...]
    bytes_per_bar: float
    measured: bool

    @property
    def is_ready(self) -> bool:
        return all(one.is_ready for one in self.presets)


def plan_world(
    provider: SeamlessDataProvider, world: World, on_series: OnSeries = lambda done, total: None
) -> WorldPlan:
    """What is there, and what is missing; asks no vendor. on_series: called with series done, and all.

    Raises `InvalidRequestError` where a window does not fit into its history.
    """
    per_bar, measured = _bytes_per_bar(provider)
    total, done, plans = len(world.series), 0, []
    for preset in world.presets:
        known, costs, paging = [], {}, None
        for series in preset.series:
            seen = _look(provider, preset, series)
            one_paging = _paging(provider, series) if seen.vendor is not None else None
            paging = paging or one_paging
            known.append(seen)
            costs[series.text] = cost_of(seen.states, one_paging, per_bar)
            done += 1
            on_series(done, total)
        history = Span(min(one.states.span.start for one in known), max(one.states.span.end for one in known))
        source = ", ".join(dict.fromkeys(one.vendor or "nobody" for one in known))
        plans.append(
            PresetPlan(
                preset,
                history,
                costs,
                together(costs.values()),
                source,
                paging,
                tuple(readiness(preset, known)),
            )
        )
    return WorldPlan(world, tuple(plans), per_bar, measured)


def history_of(provider: SeamlessDataProvider, preset: WorldPreset, series: SeriesId) -> Span:
    """The history of one series of an input, now.

    Raises `SettingsError` with its place where its window does not fit, or what is declared is not known.
    """
    parts = provider._parts
    try:
        grid = parts.profiles.of(series).grid
        return preset.window.history(grid, parts.clock.now())
    except InvalidRequestError as error:
        raise SettingsError(
            f"{preset.place}: {error.what}" if preset.place else error.what,
            series=error.series or series.text,
            span=error.span,
            why=error.why,
            next_step=error.next_step,
        ) from error


def check_world(provider: SeamlessDataProvider, world: World) -> None:
    """Whether a world can be planned, and its vendors be made; asks no vendor, and reads no bars.

    A package that is not installed says nothing of the world. Raises `SettingsError` for the first slip.
    """
    seen: list[object] = []
    for preset in world.presets:
        for series in preset.series:
            history_of(provider, preset, series)
            vendor = provider._parts.profiles.of(series).vendor
            if vendor is not None and not any(vendor is one for one in seen):
                seen.append(vendor)
                with suppress(MissingDependencyError):
                    paging_of(vendor, series)


def _look(provider: SeamlessDataProvider, preset: WorldPreset, series: SeriesId) -> Known:
    parts = provider._parts
    span = history_of(provider, preset, series)
    profile = parts.profiles.of(series)
    states = scan_coverage(provider.store, series, span, profile.grid, now=parts.clock.now())
    vendor, unserved = profile.vendor, None
    if vendor is None:
        why, next_step = parts.profiles.table.unserved(series)
        unserved = f"{why}; {next_step}"
    else:
        try:
            paging_of(vendor, series)  # a vendor that cannot be made says so here
        except QmtlError as error:
            vendor, unserved = None, error.what
    return Known(
        series.text,
        states,
        provider.store.newest_report(series),
        profile.schema.name,
        profile.schema.mode.value,
        profile.schema.why_not,
        None if vendor is None else name_of(vendor),
        unserved,
    )


def _paging(provider: SeamlessDataProvider, series: SeriesId) -> Paging | None:
    vendor = provider._parts.profiles.of(series).vendor
    return None if vendor is None else paging_of(vendor, series)


def _bytes_per_bar(provider: SeamlessDataProvider) -> tuple[float, bool]:
    """As measured in the chunks of this store; else as measured elsewhere."""
    packed = [one for one in provider.store.list_series() if one.bytes and one.rows > one.hot_rows]
    rows = sum(one.rows - one.hot_rows for one in packed)
    return (sum(one.bytes for one in packed) / rows, True) if rows else (BYTES_PER_BAR, False)


@dataclass(frozen=True)
class Applied:
    """What came of filling one input: the states of its bars, and per series that failed its error.

    fingerprints: of the history of each series, where the world publishes them.
    """

    preset: WorldPreset
    states: Mapping[str, BarStates]
    errors: Mapping[str, QmtlError]
    fingerprints: Mapping[str, str]


def apply_preset(
    provider: SeamlessDataProvider, preset: WorldPreset, on_progress: OnProgress | None = None
) -> Applied:
    """Fetch what the history of an input lacks, and judge what nobody has judged: its report is archived.

    Where its SLA preset welcomes partial answers, a series that fails does not stop the others. Else the
    first error is raised, after the others were cancelled or were done; what they committed stays.
    """
    states: dict[str, BarStates] = {}
    errors: dict[str, QmtlError] = {}
    of_span: dict[Span, list[SeriesId]] = {}
    for series in preset.series:
        of_span.setdefault(history_of(provider, preset, series), []).append(series)
    for span, some in of_span.items():
        result = provider.backfill(
            some, *span, partial_ok=preset.sla.partial_ok, on_progress=on_progress, progress=False
        )
        states |= result.states
        errors |= result.errors
    prints = {}
    for one in preset.series:
        unjudged = one.text in states and provider.store.newest_report(one) is None
        if not (unjudged or (one.text in states and preset.publish_fingerprint)):
            continue
        try:
            found = provider.fetch(one, *states[one.text].span, strategy="FAIL_FAST", partial_ok=True)
        except QmtlError as error:
            if not preset.sla.partial_ok:
                raise
            errors[one.text] = error
            continue
        # A fetch that finds nothing archives nothing: so that bars are known to be clean, its report is kept.
        if unjudged and provider.store.newest_report(one) is None:
            provider.store.archive_report(one, found.report.to_json())
        if preset.publish_fingerprint:
            prints[one.text] = found.receipt.fingerprint
    return Applied(preset, states, errors, prints)
