"""Every preset that a world can name: shipped, of entry points, of a folder, and of the world itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from qmtl.foundation.config_text import ConfigText
from qmtl.foundation.errors import InvalidRequestError, QmtlError, SettingsError
from qmtl.foundation.model_errors import model_error
from qmtl.runtime.worlds.definition import PresetDefinition
from qmtl.runtime.worlds.parts import unknown_name

# The group in which a package announces its presets, each under the preset's own name.
GROUP = "qmtl.presets"

SHIPPED = Path(__file__).parent / "presets"


class Preset(NamedTuple):
    """A definition and where it stands.

    folder: where relative paths of its vendor start; None: at the world file.
    """

    definition: PresetDefinition
    origin: str
    folder: Path | None = None


@dataclass(frozen=True)
class _Source:
    """Where a preset of some name is found; read when it is asked for."""

    origin: str
    read: Callable[[], Preset]


class Catalog:
    """Presets by name. One of them that cannot be read concerns only those who ask for it."""

    def __init__(self, sources: Iterable[tuple[str, _Source]]) -> None:
        self._sources: dict[str, _Source] = {}
        for name, source in sources:
            before = self._sources.setdefault(name, source)
            if before is not source:
                raise InvalidRequestError(
                    f"there are two presets {name!r}",
                    why=f"one is of {before.origin}, one of {source.origin}",
                    next_step="give one of them another name",
                )

    @property
    def names(self) -> list[str]:
        """Of all presets, sorted."""
        return sorted(self._sources)

    def origin(self, name: str) -> str:
        """Where the preset of a known name stands, in words."""
        return self._sources[name].origin

    def get(self, name: str) -> Preset:
        """Raises `InvalidRequestError` for a name that is not known, or a preset that cannot be read."""
        if name not in self._sources:
            raise unknown_name(name, self.names, "preset")
        return self._sources[name].read()


def catalog(folder: Path | None = None, own: Iterable[Preset] = ()) -> Catalog:
    """Every preset there is. folder: of the user's own. own: those that a world defines itself.

    Raises `InvalidRequestError` for two presets of one name, `SettingsError` for a file that cannot be used.
    """
    return Catalog(
        [
            *_of_folder(SHIPPED, "qmtl", at_home=False),
            *_of_entry_points(),
            *([] if folder is None else _of_folder(folder, None, at_home=True)),
            *((one.definition.preset, _Source(one.origin, partial(_as_it_is, one))) for one in own),
        ]
    )


def _as_it_is(preset: Preset) -> Preset:
    return preset


def _of_folder(folder: Path, origin: str | None, *, at_home: bool) -> Iterator[tuple[str, _Source]]:
    if not folder.is_dir():
        raise InvalidRequestError(
            f"there is no folder {folder}",
            why="presets are looked for in it",
            next_step="make it, or correct the name",
        )
    for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        preset = read_preset(path, origin, path.parent if at_home else None)
        yield preset.definition.preset, _Source(preset.origin, partial(_as_it_is, preset))


@cache
def _shipped_text(path: Path) -> ConfigText:
    return ConfigText.read(path, "preset")


def read_preset(path: Path, origin: str | None = None, folder: Path | None = None) -> Preset:
    """The preset of a YAML file. Raises `SettingsError` that names the place."""
    text = _shipped_text(path) if path.parent == SHIPPED else ConfigText.read(path, "preset")
    try:
        return Preset(PresetDefinition.model_validate(text.data), origin or str(path), folder)
    except ValidationError as error:
        raise model_error(error, text, PresetDefinition) from None


def _of_entry_points() -> Iterator[tuple[str, _Source]]:
    for point in {(one.name, one.value): one for one in entry_points(group=GROUP)}.values():
        package = point.dist.name if point.dist is not None else "a package"
        yield point.name, _Source(f"the package {package}", partial(_of_entry_point, point, package))


def _of_entry_point(point: EntryPoint, package: str) -> Preset:
    """What an entry point gives: a mapping, or the path of a YAML file."""
    where = f"the entry point {point.name} of {package} ({point.value})"
    try:
        found: Any = point.load()
    except QmtlError:
        raise
    except Exception as error:  # a module may raise anything as it is imported
        raise InvalidRequestError(
            f"{where} cannot be loaded",
            why=f"{type(error).__name__}: {error}",
            next_step=f"repair or remove {package}",
        ) from error
    if isinstance(found, str | PathLike):
        preset = read_preset(Path(found), f"the package {package}", Path(found).parent)
    elif isinstance(found, Mapping):
        preset = Preset(_of_mapping(found, where), f"the package {package}")
    else:
        raise InvalidRequestError(
            f"{where} is a {type(found).__name__}",
            next_step="let it be a mapping with the keys of a preset, or the path of such a YAML file",
        )
    if preset.definition.preset != point.name:
        raise InvalidRequestError(
            f"{where} defines the preset {preset.definition.preset!r}",
            why="an entry point has the name of its preset, so that no other is loaded for it",
            next_step="give both the same name",
        )
    return preset


def _of_mapping(found: Mapping[str, Any], where: str) -> PresetDefinition:
    try:
        return PresetDefinition.model_validate(dict(found))
    except ValidationError as error:
        problem = model_error(error, ConfigText(dict(found)), PresetDefinition)
        raise SettingsError(
            f"{where}: {problem.what}", why=problem.why, next_step=problem.next_step
        ) from None
