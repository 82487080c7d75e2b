"""The values of a YAML file, and the line and column at which each of them stands."""

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


class Mark(NamedTuple):
    """A position in a text; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Place(NamedTuple):
    """Where a value was written: keys that lead to it, and the file, line and column, or the variable."""

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
    _marks: dict[Keys, Mark] = field(default_factory=dict)
    _variables: dict[Keys, str] = field(default_factory=dict)

    @classmethod
    def nothing(cls) -> ConfigText:
        return cls({})

    @classmethod
    def read(cls, path: Path, example: str = "seamless") -> ConfigText:
        """The values of a file. Raises `SettingsError` if it cannot be read, or is not YAML of a mapping.

        example: a section that such files have, for errors.
        """
        data, marks = yaml_of(path, example)
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise SettingsError(
                f"{path}:1:1: it holds no sections with keys, such as `{example}:`",
                next_step="write such sections, each with its keys indented below it",
            )
        # A section whose keys are all commented out is empty, not null.
        return cls({key: {} if value is None else value for key, value in data.items()}, path, marks)

    def overridden(self, keys: tuple[str, str], text: str, by: str, *, literal: bool = False) -> ConfigText:
        """With `section.key` as the variable `by` says, its value read as YAML, or literally."""
        section, key = keys
        value = text if literal else _parsed(text, by)[0]
        current = self.data.get(section, {})
        if not isinstance(current, dict):
            return self  # the section is no mapping, which is reported later
        data = {**self.data, section: {**current, key: value}}
        marks = {at: mark for at, mark in self._marks.items() if at[: len(keys)] != keys}
        return ConfigText(data, self.path, marks, {**self._variables, keys: by})

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
            if whole[:cut] in self._marks:
                return Place(whole, f"{self.path}:{self._marks[whole[:cut]]}")
        return Place(whole, str(self.path or "settings"))


def yaml_of(path: Path, example: str = "seamless") -> tuple[Any, dict[Keys, Mark]]:
    """The value of a YAML file, and the place of each key. Raises `SettingsError` if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read",
            why=str(error),
            next_step="check the path, and that it is UTF-8 text",
        ) from error
    return _parsed(text, str(path), example)


_CORRECT = "correct it there, or just above: a text with ': ', '#' or a bracket in it stands in quotes"


def _parsed(text: str, name: str, example: str = "seamless") -> tuple[Any, dict[Keys, Mark]]:
    import yaml  # needed only where there is something to read

    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise SettingsError(
            f"{name}:{line}:{column}: this is not YAML",
            why=f"it holds the control character #x{ord(text[error.position]):02x}",
            next_step="remove it",
        ) from error
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        marks = dict(_bounded(_marks_of(node, (), name), name))
        return loader.construct_document(node), marks
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = name if mark is None else f"{name}:{_mark(mark)}"
        raise SettingsError(f"{where}: this is not YAML", why=error.problem, next_step=_CORRECT) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{name}: this is not YAML", why=str(error), next_step=_CORRECT) from error
    except (RecursionError, TypeError) as error:
        raise SettingsError(
            f"{name}: this is not YAML of sections and keys",
            why="an anchor holds itself" if isinstance(error, RecursionError) else "a key is no text",
            next_step=f"write sections with keys, such as `{example}:`",
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


def _bounded(marks: Iterable[tuple[Keys, Mark]], name: str) -> Iterable[tuple[Keys, Mark]]:
    """Raise `SettingsError` before aliases of aliases have grown without end."""
    for number, mark in enumerate(marks):
        if number == MOST_VALUES:
            raise SettingsError(
                f"{name}: it holds more than {MOST_VALUES:,} values",
                why="aliases (*name) are counted wherever they stand",
                next_step="write settings without aliases of aliases",
            )
        yield mark


def _marks_of(node: yaml.Node, keys: Keys, name: str) -> Iterable[tuple[Keys, Mark]]:
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            mark = _mark(key.start_mark)
            if key.value in seen:
                raise SettingsError(
                    f"{name}:{mark}: the key {key.value!r} is given twice", next_step="leave one of them out"
                )
            seen.add(key.value)
            yield (*keys, key.value), mark
            yield from _marks_of(value, (*keys, key.value), name)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*keys, i), _mark(value.start_mark)
            yield from _marks_of(value, (*keys, i), name)


def _mark(mark: yaml.Mark) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)
