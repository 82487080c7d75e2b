"""A world as rows of the profile table, and the provider that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, SettingsError
from qmtl.foundation.settings import Settings
from qmtl.foundation.vendor_settings import SourceSettings
from qmtl.runtime.io.vendors.base import Vendor
from qmtl.runtime.sdk import from_settings
from qmtl.runtime.sdk.lazy_vendor import LazyVendor
from qmtl.runtime.sdk.profile_table import ProfileRow
from qmtl.runtime.worlds.loading import load_world
from qmtl.runtime.worlds.world import World, WorldPreset

if TYPE_CHECKING:
    from qmtl.runtime.sdk.provider import SeamlessDataProvider


def provider_of_world(
    world: World | str | PathLike[str],
    settings: Settings | str | PathLike[str] | None = None,
    **options: Any,
) -> SeamlessDataProvider:
    """A provider with everything that follows from the presets of a world; a context manager.

    world: loaded, or the path of its file. settings: where the store is and all else that is of the place, as
    `SeamlessDataProvider.from_settings` takes them. A vendor that the settings name for a series goes before
    that of its preset: proxies, simulators and keys are of the place, too. options: of `SeamlessDataProvider`
    (`store`, `clock`, ...), which override the settings.
    """
    from qmtl.runtime.sdk.provider import SeamlessDataProvider

    return SeamlessDataProvider(**world_options(load_world(world), settings, options))


def world_options(
    world: World, settings: Settings | str | PathLike[str] | None, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The parameters of a provider that serves the world."""
    chosen = {**from_settings.provider_options(settings), **(options or {})}
    named = chosen["vendors"]
    # In one table the order decides, so the vendors of the settings become rows, too.
    of_place = [] if named is None else _vendor_rows(named)
    rows = [*of_place, *_rows(world), *chosen.get("profiles", ())]
    return {**chosen, "vendors": None if named is None else {}, "profiles": rows}


def _vendor_rows(vendors: Any) -> list[ProfileRow]:
    by_pattern = vendors.items() if hasattr(vendors, "items") else [("*", vendors)]
    return [ProfileRow(match, "vendors=", vendor=one) for match, one in by_pattern]


def _rows(world: World) -> Iterator[ProfileRow]:
    """One for each input. Those with the same vendor share it: it knows its markets once they are loaded."""
    made: list[tuple[SourceSettings, Vendor]] = []
    for preset in world.presets:
        source = preset.vendor
        vendor = next((one for known, one in made if known == source), None)
        if source is not None and vendor is None:
            vendor = LazyVendor(from_settings.vendor_name(source), partial(_made, source, preset))
            made.append((source, vendor))
        yield _row(preset, vendor)


def _row(preset: WorldPreset, vendor: Vendor | None) -> ProfileRow:
    return ProfileRow(
        preset.pattern,
        f"the preset {preset.preset}",
        vendor=vendor,
        facts=preset.facts,
        subject=preset.subject,
        sla=preset.sla.policy,
        partial_ok=preset.sla.partial_ok,
        on_findings=preset.conformance.on_findings,
        members=preset.members,
    )


def _made(source: SourceSettings, preset: WorldPreset) -> Vendor:
    """The vendor of a preset. Raises `SettingsError` and `MissingDependencyError` that name it."""
    where = f"the vendor of the preset {preset.preset} ({preset.origin})"
    try:
        return from_settings.vendor(source)
    except MissingDependencyError as error:
        error.why = f"{where} needs it"
        raise
    except InvalidRequestError as error:
        raise SettingsError(
            f"{where} cannot be made: {error.what}", why=error.why, next_step=error.next_step
        ) from error
