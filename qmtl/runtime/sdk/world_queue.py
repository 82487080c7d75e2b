"""What of a world is left to workers: ranges that nobody has answered for, and what to know of them."""

from __future__ import annotations

from qmtl.foundation.series import SeriesId
from qmtl.runtime.coordination.job_plans import WantedRange, ranges_of
from qmtl.runtime.io.coverage_scan import scan_coverage
from qmtl.runtime.sdk.declaring import try_declaration
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.world_plan import history_of
from qmtl.runtime.worlds.world import World


def ranges_of_world(provider: SeamlessDataProvider, world: World) -> list[WantedRange]:
    """What the histories of a world lack; asks no vendor.

    Declares in the store what the presets say of these series, as the first commit would have done: workers
    fill them by that. Raises `InvalidRequestError` where a window does not fit into its history, and for what
    is declared otherwise already.
    """
    store, profiles = provider.store, provider._parts.profiles
    ranges: list[WantedRange] = []
    undeclared: list[SeriesId] = []
    for preset in world.presets:
        for series in preset.series:
            span = history_of(provider, preset, series)
            states = scan_coverage(store, series, span, profiles.of(series).grid, now=provider.now())
            if states.unknown:
                ranges += ranges_of(series.text, states.unknown, store.shard_steps)
                undeclared.append(series)
    for series in undeclared:  # once all of the world is known to fit
        _declare(provider, series)
    return ranges


def _declare(provider: SeamlessDataProvider, series: SeriesId) -> None:
    profile, stored = provider._parts.profiles.of(series), provider.store.facts(series)
    facts = profile.facts.storable
    if facts.to_mapping() and facts != stored:
        try_declaration(provider.store, series, profile.grid, profile.facts, stored)
        provider.store.declare(series, facts)
