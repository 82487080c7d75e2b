"""The inputs of a strategy with everything resolved: which series, from which provider, by which policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.strategy import Node, StreamInput
from qmtl.runtime.worlds.window import Window
from qmtl.runtime.worlds.world import World, WorldPreset


class BoundInput(NamedTuple):
    """One input, ready to be read.

    window: bars that its nodes see. history: of its preset, how far that reaches. asks: whether a vendor may
    be asked. partial: whether missing bars are gaps. max_lag: seconds for which a bar is waited for while it
    is followed, None for ever; live_partial: whether the run goes on without it then.
    """

    name: str
    series: tuple[SeriesId, ...]
    window: int
    nodes: Mapping[str, Any]
    provider: SeamlessDataProvider
    history: Window
    asks: bool
    partial: bool
    max_lag: float | None = None
    live_partial: bool = False

    @property
    def earlier(self) -> int:
        """How many bars have to be there before the first one that is delivered."""
        return max(self.window, self.history.warmup_bars)


def preset_of(one: StreamInput, world: World | None, data_preset: str | None) -> WorldPreset | None:
    """The preset that an input takes its bars by; None where it names its series itself.

    Raises `InvalidRequestError` where it names none and there is not exactly one, or where there are two.
    """
    if one.series:
        return None
    if world is None:
        named = "no series" if one.preset is None else f"the preset {one.preset!r}"
        raise InvalidRequestError(
            f"input {one.name!r} names {named}, and there is no world",
            next_step="give `Runner.submit(..., world=...)` one, or the input its series",
        )
    if one.preset is not None and data_preset not in (None, one.preset):
        raise InvalidRequestError(
            f"there are two presets for input {one.name!r}: {one.preset!r} and {data_preset!r}",
            why="`data_preset` is for inputs that name none",
            next_step="leave out one of them",
        )
    chosen = one.preset or data_preset
    if chosen is None and len(world.presets) != 1:
        raise InvalidRequestError(
            f"input {one.name!r} names no preset, and the world {world.id!r} has {len(world.presets)}",
            next_step="name one, in the input or as `data_preset`: "
            + ", ".join(preset.id for preset in world.presets),
        )
    return world.presets[0] if chosen is None else world.preset(chosen)


def bound(
    one: StreamInput,
    nodes: Sequence[Node],
    preset: WorldPreset | None,
    provider: SeamlessDataProvider | None,
) -> BoundInput:
    """An input with its preset, and the provider of the run unless it has its own.

    Raises `InvalidRequestError` without any provider.
    """
    own = one.history_provider or provider
    if own is None:
        raise InvalidRequestError(
            f"input {one.name!r} has no provider",
            next_step="give `Runner.submit(..., history_provider=...)`, or `world=`, for all inputs, or this "
            "one a provider of its own: `StreamInput(..., history_provider=...)`",
        )
    return BoundInput(
        one.name,
        one.series if preset is None else preset.series,
        one.window,
        {node.name: node.value for node in nodes if node.source is one},
        own,
        Window() if preset is None else preset.window,
        preset is None or preset.strategy != "FAIL_FAST",
        one.allow_partial or (preset is not None and preset.sla.partial_ok),
        None if preset is None else preset.live.max_lag,
        one.allow_partial or (preset is not None and preset.live.allow_partial),
    )
