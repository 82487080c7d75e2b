"""From a world file to a world: read, checked, and resolved; each slip is told with file, line and column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qmtl.foundation.config_text import ConfigText
from qmtl.foundation.errors import InvalidRequestError, SettingsError
from qmtl.foundation.model_errors import model_error
from qmtl.foundation.series import Timeframe
from qmtl.foundation.vendor_settings import with_paths_of
from qmtl.foundation.version import __version__
from qmtl.runtime.worlds.catalog import Catalog, Preset, catalog
from qmtl.runtime.worlds.definition import PresetDefinition
from qmtl.runtime.worlds.window import Window
from qmtl.runtime.worlds.world import LivePolicy, World, WorldPreset
from qmtl.runtime.worlds.world_file import VERSION, PresetEntry, WorldFile

_ENTRIES = ("world", "data", "presets")

# What holds where neither the preset nor the world says anything.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "window": {"warmup_bars": 0, "min_history": 0.0, "backfill_start": None},
    "seamless": {
        "sla_preset": "baseline",
        "conformance_preset": "strict-blocking",
        "backfill_mode": "foreground",
        "stabilization_bars": 0,
        "publish_fingerprint": False,
    },
    "live": {"max_lag": None, "allow_partial": False},
}


def load_world(world: str | PathLike[str] | World) -> World:
    """The world of a file; one that is loaded already stays as it is.

    Raises `SettingsError`: the first slip of the file, with file, line, column and the nearest name.
    """
    if isinstance(world, World):
        return world
    path = Path(world)
    file, text = _read(path)
    known = _catalog(file, text)
    presets: dict[str, WorldPreset] = {}
    whose: dict[str, str] = {}  # by node id, the input that has it
    for number, entry in enumerate(file.world.data.presets):
        with _at(text, *_ENTRIES, number, "id"):
            if entry.id in presets:
                raise InvalidRequestError(
                    f"two presets have the id {entry.id!r}",
                    why="an input of a strategy names its preset by it",
                    next_step="give one of them another id",
                )
        preset = _resolved(entry, number, known, text)
        presets[entry.id] = preset
        for place, series in enumerate(preset.series):
            with _at(text, *_ENTRIES, number, "universe", "symbols", place):
                if whose.setdefault(series.text, entry.id) != entry.id:
                    raise InvalidRequestError(
                        f"{series} belongs to the preset {whose[series.text]!r} already",
                        why="one series cannot have the windows and policies of two presets",
                        next_step="leave it out of one of them",
                    )
    return World(file.world.id, path, tuple(presets.values()))


def catalog_of_file(path: Path) -> Catalog:
    """Every preset that a world file can name. Raises as `load_world`."""
    return _catalog(*_read(path))


def _read(path: Path) -> tuple[WorldFile, ConfigText]:
    text = ConfigText.read(path, "world")
    _check_version(text)
    try:
        return WorldFile.model_validate(text.data), text
    except ValidationError as error:
        raise model_error(error, text, WorldFile) from None


def _catalog(file: WorldFile, text: ConfigText) -> Catalog:
    """Relative paths start at the folder of the world."""
    data = file.world.data
    here = (text.path or Path()).parent
    own = [
        Preset(one, str(text.place(("world", "data", "definitions", number))), here)
        for number, one in enumerate(data.definitions)
    ]
    folder = None if data.preset_folder is None else here / Path(data.preset_folder).expanduser()
    with _at(text, "world", "data", "preset_folder" if folder is not None else "presets"):
        return catalog(folder, own)


def _check_version(text: ConfigText) -> None:
    """Before all else: what another version calls its keys says nothing."""
    version = text.data.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise SettingsError(
            f"{text.place(('version',))}: this world file is of version {version!r}",
            why=f"qmtl {__version__} reads version {VERSION}",
            next_step="use the qmtl that wrote it, or write the file anew as the guide on worlds shows",
        )


def _resolved(entry: PresetEntry, number: int, known: Catalog, text: ConfigText) -> WorldPreset:
    """An entry with its preset; what it says itself goes before the defaults of that."""
    where = (*_ENTRIES, number)
    with _at(text, *where, "preset"):
        definition, origin, folder = known.get(entry.preset)
    with _at(text, *where, "timeframe"):
        timeframe = _timeframe(entry, definition)
    series = []
    for place, symbol in enumerate(entry.universe.symbols):
        with _at(text, *where, "universe", "symbols", place):
            series.append(definition.series_of(symbol, timeframe))
    said = {
        part: defaults | _said(definition, part) | _said(entry, part) for part, defaults in _DEFAULTS.items()
    }
    if entry.window.backfill_start is not None and entry.window.min_history is None:
        said["window"]["min_history"] = 0.0  # a default does not contradict what the world says
    seamless, live = said["seamless"], said["live"]
    here = folder or (text.path or Path()).parent
    return WorldPreset(
        id=entry.id,
        preset=entry.preset,
        origin=origin,
        series=tuple(series),
        pattern=definition.pattern,
        vendor=None if definition.vendor is None else with_paths_of(definition.vendor, here),
        facts=definition.facts,
        subject=definition.subject,
        window=Window(**said["window"], stabilization_bars=seamless["stabilization_bars"]),
        sla_preset=seamless["sla_preset"],
        conformance_preset=seamless["conformance_preset"],
        backfill_mode=seamless["backfill_mode"],
        publish_fingerprint=seamless["publish_fingerprint"],
        live=LivePolicy(**live),
        place=str(text.place((*where, "id"))),
    )


def _said(whole: PresetDefinition | PresetEntry, part: str) -> dict[str, Any]:
    """What a section says; a key that is null says nothing."""
    section = getattr(whole, part)
    return {
        name: value for name in type(section).model_fields if (value := getattr(section, name)) is not None
    }


def _timeframe(entry: PresetEntry, definition: PresetDefinition) -> str | None:
    if definition.has_timeframe:
        if entry.timeframe is not None:
            raise InvalidRequestError(
                f"the preset {entry.preset!r} has a timeframe already",
                why=f"its series are {definition.series}",
                next_step="leave it out, or name a preset of the other timeframe",
            )
        return None
    if entry.timeframe is None:
        raise InvalidRequestError(
            f"the preset {entry.preset!r} leaves the timeframe open",
            next_step="add for example `timeframe: 1d`",
        )
    return Timeframe.parse(entry.timeframe).text


@contextmanager
def _at(text: ConfigText, *steps: str | int) -> Iterator[None]:
    """What is wrong with a value is told with its place."""
    try:
        yield
    except SettingsError:  # it names a place already
        raise
    except InvalidRequestError as error:
        place = text.place(steps)
        raise SettingsError(
            f"{place}: {place.key!r}: {error.what}", why=error.why, next_step=error.next_step
        ) from error
