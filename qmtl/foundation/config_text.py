"""The values of a YAML file, and the line on which each of them stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qmtl.foundation.errors import SettingsError

if TYPE_CHECKING:
    import yaml

Keys = tuple[str | int, ...]

# No settings of people have so many.
MOST_VALUES = 100_000


class Place(NamedTuple):
    """Where a value was written: keys that lead to it, and the file and line, or the variable."""

    keys: Keys
    written: str

    @property
    def key(self) -> str:
        """The keys as one: `seamless.vendors[0].path`."""
        return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in self.keys).lstrip(".")

    def __str__(self) -> str:
        return self.written


@dataclass(frozen=True)
class ConfigText:
    """`data` is what the file says, as plain values; `path` is None where there is no file."""

    data: dict[str, Any]
    path: Path | None = None
    _lines: dict[Keys, int] = field(default_factory=dict)
    _variables: dict[Keys, str] = field(default_factory=dict)

    @classmethod
    def nothing(cls) -> ConfigText:
        return cls({})

    @classmethod
    def read(cls, path: Path) -> ConfigText:
        """The values of a file. Raises `SettingsError` if it cannot be read, or is not YAML of a mapping."""
        data, lines = yaml_of(path)
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise SettingsError(f"{path}:1: settings are sections with keys, such as `seamless:`")
        # A section whose keys are all commented out is empty, not null.
        return cls({key: {} if value is None else value for key, value in data.items()}, path, lines)

    def overridden(self, keys: tuple[str, str], text: str, by: str, *, literal: bool = False) -> ConfigText:
        """With `section.key` as the variable `by` says, its value read as YAML, or literally."""
        section, key = keys
        value = text if literal else _parsed(text, by)[0]
        current = self.data.get(section, {})
        if not isinstance(current, dict):
            return self  # the section is no mapping, which is reported later
        data = {**self.data, section: {**current, key: value}}
        lines = {at: line for at, line in self._lines.items() if at[: len(keys)] != keys}
        return ConfigText(data, self.path, lines, {**self._variables, keys: by})

    def is_from_variable(self, keys: Keys) -> bool:
        return keys in self._variables

    def place(self, steps: Sequence[str | int]) -> Place:
        """Where the value lies to which `steps` lead; steps that are not in the file are passed over."""
        keys: list[str | int] = []
        here: Any = self.data
        for step in steps:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                continue  # the name of a branch of a union, or a key that is missing
            keys.append(step)
        whole = tuple(keys)
        for cut in range(len(whole), -1, -1):
            if whole[:cut] in self._variables:
                return Place(whole, self._variables[whole[:cut]])
            if whole[:cut] in self._lines:
                return Place(whole, f"{self.path}:{self._lines[whole[:cut]]}")
        return Place(whole, str(self.path or "settings"))


def yaml_of(path: Path) -> tuple[Any, dict[Keys, int]]:
    """The value of a YAML file, and the line of each key. Raises `SettingsError` if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read",
            why=str(error),
            next_step="check the path, and that it is UTF-8 text",
        ) from error
    return _parsed(text, str(path))


def _parsed(text: str, name: str) -> tuple[Any, dict[Keys, int]]:
    import yaml  # needed only where there is something to read

    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SettingsError(
            f"{name}:{line}: this is not YAML",
            why=f"it holds the control character #x{ord(text[error.position]):02x}",
        ) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines = dict(_bounded(_lines_of(node, (), name), name))
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = name if mark is None else f"{name}:{mark.line + 1}"
        raise SettingsError(f"{where}: this is not YAML", why=error.problem) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}: this is not YAML", why=str(error)) from error
    except (RecursionError, TypeError) as error:
        raise SettingsError(
            f"{name}: this is not YAML of sections and keys",
            why="an anchor holds itself" if isinstance(error, RecursionError) else "a key is no text",
            next_step="write sections with keys, such as `seamless:`",
        ) from error
    except SettingsError:  # which is a ValueError, too
        raise
    except ValueError as error:  # a date such as 2024-13-01
        raise SettingsError(
            f"{name}: a value cannot be read",
            why=str(error),
            next_step="write a text that looks like a date in quotes",
        ) from error
    finally:
        loader.dispose()


def _bounded(lines: Iterable[tuple[Keys, int]], name: str) -> Iterable[tuple[Keys, int]]:
    """Raise `SettingsError` before aliases of aliases have grown without end."""
    for number, line in enumerate(lines):
        if number == MOST_VALUES:
            raise SettingsError(
                f"{name}: it holds more than {MOST_VALUES:,} values",
                why="aliases (*name) are counted wherever they stand",
                next_step="write settings without aliases of aliases",
            )
        yield line


def _lines_of(node: yaml.Node, keys: Keys, name: str) -> Iterable[tuple[Keys, int]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise SettingsError(f"{name}:{line}: the key {key.value!r} is given twice")
            seen.add(key.value)
            yield (*keys, key.value), line
            yield from _lines_of(value, (*keys, key.value), name)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*keys, i), value.start_mark.line + 1
            yield from _lines_of(value, (*keys, i), name)
