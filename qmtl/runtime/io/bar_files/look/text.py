"""A look in the words that people read: whole, and short for below an error."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl.foundation.frames import stamps
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.io.bar_files.look.looks import Column, Look, bar_text
from qmtl.runtime.io.bar_files.look.trial import Reading

_WIDTH = 10
_SHORT_LINES = 3


def text_of(look: Look) -> str:
    """All that was found, for a terminal."""
    return "\n".join(_full_text(look))


def short_text_of(look: Look) -> str:
    """The first lines, the columns, and the command that reads the file, if there is one."""
    return "\n".join(_short(look))


def _full_text(look: Look) -> Iterator[str]:
    yield _fact("file", f"{look.name}: {look.what}, {look.size:,} bytes")
    yield from (_fact(name, value) for name, value in look.facts)
    yield from _lines(look, len(look.first))
    if look.columns:
        yield "columns"
        yield from _columns(look.columns)
    if look.readings:
        first = look.readings[0]
        yield _fact("bars", f"{first.frame.height:,} of {first.timeframe} in what was looked at")
        yield _fact("first", bar_text(first, first.frame["ts"].arg_min() or 0))
        yield _fact("last", bar_text(first, first.frame["ts"].arg_max() or 0))
        yield from (_fact("note", note) for note in (*first.notes, *look.notes))
    else:
        yield from (_fact("note", note) for note in look.notes)
    yield ""
    yield from _ways(look)


def _short(look: Look) -> Iterator[str]:
    yield f"a look at {look.name}: {look.what}"
    yield from _lines(look, _SHORT_LINES)
    taken = [f"{column.role}={_called(column)}" for column in look.columns if column.role]
    if taken and look.readings:
        yield _fact("columns", ", ".join(taken))
    yield from _ways(look)


def _lines(look: Look, most: int) -> Iterator[str]:
    for number, line in look.first[:most]:
        yield f"  {number:>3}  {line}"
    if (
        look.last
        and most > _SHORT_LINES
        and look.last != tuple(line for _, line in look.first[-len(look.last) :])
    ):
        yield "  ..."
        yield from (f"       {line}" for line in look.last)


def _columns(columns: tuple[Column, ...]) -> Iterator[str]:
    names = [_called(column) for column in columns]
    width = min(max(map(len, names)), 24)
    for column, name in zip(columns, names, strict=True):
        taken = f"{column.place + 1:>3}  {name:<{width}}  {column.role or '-':<7}"
        yield f"  {taken} {column.example:<20}  {column.why}"


def _ways(look: Look) -> Iterator[str]:
    yield from (_fact("mind", caution) for caution in look.cautions)
    commands = look.commands()
    if not commands:
        if look.refusal is not None:
            yield f"no way of reading it was found: {look.refusal.error.what}"
            if look.refusal.error.why:
                yield _fact("why", look.refusal.error.why)
        if look.next_step:
            yield _fact("next", look.next_step)
        return
    if len(commands) == 1:
        yield f"this reads it{_refused_rows(look.readings[0])}:"
        yield f"  {commands[0]}"
        return
    yield f"{len(commands)} readings fit, and nothing in the file tells which is meant:"
    for number, (reading, command) in enumerate(zip(look.readings, commands, strict=True), 1):
        ts = stamps(reading.frame)
        yield f"  {number}. {command}"
        yield f"     {reading.timeframe} bars from {iso(int(ts.min()))} to {iso(int(ts.max()))}"
    for difference in look.differences:
        yield f"  {difference.place} {difference.line} tells them apart: {difference.text}"
        yield from (f"     {number}. {meaning}" for number, meaning in enumerate(difference.meanings, 1))


def _refused_rows(reading: Reading) -> str:
    """What an import would refuse of the bars of a reading, in words."""
    rows, rules = sum(reading.impossible.values()), ", ".join(reading.impossible)
    if not rows:
        return ""
    return (
        f", and an import refuses {counted(rows, 'row')} ({rules}) unless `partial_ok=True` keeps them aside"
    )


def _called(column: Column) -> str:
    return column.name or f"column {column.place + 1}"


def _fact(name: str, value: str) -> str:
    return f"{name:<{_WIDTH}} {value}"
