"""A world with everything resolved: per input its series, its window and its policies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.vendor_settings import SourceSettings
from qmtl.runtime.worlds.parts import unknown_name
from qmtl.runtime.worlds.policies import (
    BACKFILL_MODES,
    CONFORMANCE_PRESETS,
    SLA_PRESETS,
    ConformancePreset,
    SLAPreset,
)
from qmtl.runtime.worlds.window import Window


class LivePolicy(NamedTuple):
    """What holds near the present.

    max_lag: seconds by which the newest bar may trail the newest one that is due; None is no bound.
    allow_partial: whether others go on where a series is behind.
    """

    max_lag: float | None
    allow_partial: bool


@dataclass(frozen=True)
class WorldPreset:
    """One input of a world: the series of a preset for a universe, and all that holds for them.

    id: in the world. preset: the name of the preset. origin: where that is defined. series: in the order of
    the universe. vendor: who serves them where the settings name nobody; None: nobody. subject: under which
    their schema is registered, where the preset names one. place: of the input in the world file.
    """

    id: str
    preset: str
    origin: str
    series: tuple[SeriesId, ...]
    pattern: str
    vendor: SourceSettings | None
    facts: SeriesFacts
    subject: str | None
    window: Window
    sla_preset: str
    conformance_preset: str
    backfill_mode: str
    publish_fingerprint: bool
    live: LivePolicy
    place: str = ""

    @property
    def sla(self) -> SLAPreset:
        """Budgets of each fetch, and whether holes are answered."""
        return SLA_PRESETS[self.sla_preset]

    @property
    def conformance(self) -> ConformancePreset:
        """What findings do."""
        return CONFORMANCE_PRESETS[self.conformance_preset]

    @property
    def strategy(self) -> str:
        """The strategy by which an input fetches: `fetch(..., strategy=preset.strategy)`."""
        return BACKFILL_MODES[self.backfill_mode].strategy

    @cached_property
    def members(self) -> frozenset[str]:
        """The node ids of its series."""
        return frozenset(one.text for one in self.series)

    @property
    def schema_subject(self) -> str:
        """The subject of their schema in a registry: it follows from the node ids, or is named."""
        first = self.series[0]
        return self.subject or f"{first.kind}.{first.venue}.{first.timeframe}"


@dataclass(frozen=True)
class World:
    """id: of the world. path: of its file. presets: its inputs, in the order of the file."""

    id: str
    path: Path
    presets: tuple[WorldPreset, ...]

    @property
    def series(self) -> tuple[SeriesId, ...]:
        """Those of all inputs; no two share one."""
        return tuple(series for preset in self.presets for series in preset.series)

    def preset(self, id: str) -> WorldPreset:
        """The input of that id. Raises `InvalidRequestError` with the nearest."""
        for one in self.presets:
            if one.id == id:
                return one
        raise unknown_name(
            id, [one.id for one in self.presets], f"preset in the world {self.id!r} with the id"
        )
