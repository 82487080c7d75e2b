"""What a look found: the first lines, what each column was taken for, and the commands that read the file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.times import iso
from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.roles import Roles, filled
from qmtl.runtime.io.bar_files.look.trial import Reading, Refusal

# Stands in a command for what a person must fill in.
SERIES = "ohlcv:VENUE:SYMBOL"


@dataclass(frozen=True)
class Column:
    """role: the bar column that it was taken for, if any. example: its first value that is there."""

    place: int
    name: str
    role: str | None
    why: str
    example: str


@dataclass(frozen=True)
class Difference:
    """A row that tells readings apart: where it stands, as it is, and what each reading makes of it."""

    place: str
    line: int
    text: str
    meanings: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """All that a look at a file found.

    name: the file. what: it is. size: bytes. facts: how its text is written, as pairs of a word and its
    value. first, last: lines as they are, with their numbers; control characters are made visible.
    columns: of the table.
    readings: every way of reading that gives bars; several if nothing in the file tells them apart, and then
    `differences` show rows that a person can. cautions: what these readings leave out, or take on trust.
    refusal: why the likeliest way does not read it, if none does.
    next_step: what to do then. table: the part of a document that was looked at, "" if it is the whole.
    """

    name: str
    what: str
    size: int
    facts: tuple[tuple[str, str], ...] = ()
    first: tuple[tuple[int, str], ...] = ()
    last: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    readings: tuple[Reading, ...] = ()
    differences: tuple[Difference, ...] = ()
    refusal: Refusal | None = None
    cautions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    next_step: str | None = None
    series: str | None = None
    path: str = ""
    table: str = ""

    def commands(self) -> tuple[str, ...]:
        """The line to type for each of the readings."""
        return tuple(self.command(reading) for reading in self.readings)

    def command(self, reading: Reading) -> str:
        series = self.series or f"{SERIES}:{reading.timeframe}"
        return shlex.join(
            [
                "qmtl",
                "import",
                self.path,
                "--series",
                series,
                *arguments({**reading.options, **reading.facts.to_mapping()}),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values; times are ISO 8601 UTC."""
        return {
            "file": self.name,
            "what": self.what,
            "bytes": self.size,
            "facts": dict(self.facts),
            "first_lines": [text for _, text in self.first],
            "last_lines": list(self.last),
            "columns": [
                {"place": c.place, "name": c.name, "role": c.role, "why": c.why, "example": c.example}
                for c in self.columns
            ],
            "readings": [
                {"command": self.command(one), "options": _plain(one.options), **_bars_json(one)}
                for one in self.readings
            ],
            "differences": [
                {one.place: one.line, "text": one.text, "meanings": list(one.meanings)}
                for one in self.differences
            ],
            "refused": None if self.refusal is None else _refusal_json(self.refusal),
            "cautions": list(self.cautions),
            "notes": list(self.notes),
            "next_step": self.next_step,
        }


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options of reading as flags of `qmtl import`."""
    words: list[str] = []
    for name, value in options.items():
        text = value if isinstance(value, str) else ",".join(_items(value))
        words += [f"--{name.replace('_', '-')}", {"\t": "\\t"}.get(text, text)]
    return words


def _items(value: Any) -> Sequence[str]:
    if isinstance(value, Mapping):
        return [f"{key}={inner}" for key, inner in value.items()]
    return [str(value)] if isinstance(value, int) else [str(item) for item in value]


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(v) if isinstance(v, Mapping) else v for name, v in options.items()}


def columns_of(layout: Layout, roles: Roles) -> tuple[Column, ...]:
    """The columns of a table, each with the role that it may have."""
    may = {one.place: one for role in reversed(list(roles)) for one in reversed(roles[role])}
    may |= {one.clock: one for one in roles["ts"] if one.clock is not None}
    return tuple(
        Column(
            place,
            layout.names[place],
            may[place].role if place in may else None,
            may[place].why if place in may else "",
            next(iter(filled(layout, place)), ""),
        )
        for place in range(layout.width)
    )


def bar_text(reading: Reading, row: int) -> str:
    """One bar of a reading, on one line."""
    found = reading.frame.row(row, named=True)
    ts = int(stamps(reading.frame)[row])
    values = (f"{name} {found[name]:.10g}" for name in reading.frame.columns[1:] if found[name] is not None)
    return f"{iso(ts)} {' '.join(values)}"


def _bars_json(reading: Reading) -> dict[str, Any]:
    ts = stamps(reading.frame)
    return {
        "timeframe": str(reading.timeframe),
        "rows": reading.frame.height,
        "first": iso(int(ts.min())),
        "last": iso(int(ts.max())),
        "impossible": dict(reading.impossible),
        "notes": list(reading.notes),
    }


def _refusal_json(refusal: Refusal) -> dict[str, Any]:
    error: InvalidRequestError = refusal.error
    return {
        "options": _plain(refusal.options),
        "message": error.what,
        "why": error.why,
        "next_step": error.next_step,
    }
