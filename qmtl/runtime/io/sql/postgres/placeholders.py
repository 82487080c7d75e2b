"""The placeholders of our statements (`?`, `?1`, `:name`) as those of PostgreSQL: `$1`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from qmtl.runtime.io.sql.dialect import Values

# What is quoted, and a cast, is left alone.
_PARTS = re.compile(r"'[^']*'|\"[^\"]*\"|::|\?(?P<number>\d+)?|:(?P<name>[a-z_]+)")


class Statement(NamedTuple):
    """A statement of PostgreSQL. names: of its values, in order; empty where they come in order already."""

    text: str
    names: tuple[str, ...]

    def ordered(self, values: Values) -> Sequence[Any]:
        """The values as `$1`, `$2` and so on."""
        if not isinstance(values, tuple) and isinstance(values, Mapping):  # the first is quickly said
            return [values[name] for name in self.names]
        return values


@lru_cache(maxsize=2048)
def translated(text: str, sign: str = "$") -> Statement:
    """A statement of ours. sign: what stands before the number of a value."""
    names: list[str] = []
    count = 0

    def one(found: re.Match[str]) -> str:
        nonlocal count
        if name := found["name"]:
            if name not in names:
                names.append(name)
            return f"{sign}{names.index(name) + 1}"
        if number := found["number"]:
            return f"{sign}{number}"
        if found[0] == "?":
            count += 1
            return f"{sign}{count}"
        return found[0]

    return Statement(_PARTS.sub(one, text), tuple(names))
