"""Which column is what, by its name or by what it holds, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.names import NAMES, plain, rank_of
from qmtl.runtime.io.bar_files.look.times import clock_formats, date_formats, is_falling, readings_of
from qmtl.runtime.io.bar_files.look.values import is_nothing, is_numeric, number_of
from qmtl.runtime.io.bar_files.look.volumes import is_average, is_quote, names_a_volume, possible_volumes

PRICES = ("open", "high", "low", "close")

_CLOCK = re.compile(r"time|zeit|hour|hms|heure|hora")
DOUBTFUL = "it holds numbers, and no other column was taken for the volume"


@dataclass(frozen=True)
class Candidate:
    """A column that may hold `role`; `rank` 0 is the surest. `clock` is the column of the time of day, if the
    stamp is made up of two."""

    role: str
    place: int
    rank: int
    why: str
    clock: int | None = None


Roles = Mapping[str, tuple[Candidate, ...]]


def candidates_of(layout: Layout) -> dict[str, tuple[Candidate, ...]]:
    """For each role the columns that may hold it, the surest first; those of the first rank fit alike."""
    found: dict[str, list[Candidate]] = {role: [] for role in NAMES}
    if layout.header is None:
        for candidate in _by_values(layout):
            found[candidate.role].append(candidate)
    else:
        for role in found:
            found[role] += _by_name(layout, role)
        if not found["ts"]:
            found["ts"] += _times(layout)
        if not any(found[role] for role in PRICES):
            for candidate in _unnamed_prices(layout):
                found[candidate.role].append(candidate)
    if not found["volume"]:
        found["volume"] += _possible_volumes(layout, found)
    return {role: tuple(sorted(some, key=lambda one: one.rank)) for role, some in found.items()}


def best(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those of the best rank."""
    return tuple(one for one in candidates if one.rank == candidates[0].rank)


def filled(layout: Layout, place: int) -> list[str]:
    """The cells of a column that hold something."""
    return [text for text in layout.column(place) if not is_nothing(text)]


def _by_name(layout: Layout, role: str) -> Iterator[Candidate]:
    for place, name in enumerate(layout.names):
        rank = rank_of(name, role)
        if rank is None or not _holds(layout, place, role):
            continue
        why = f"it is called {name!r}"
        yield _stamp(layout, place, rank, why) if role == "ts" else Candidate(role, place, rank, why)


def _holds(layout: Layout, place: int, role: str) -> bool:
    cells = filled(layout, place)
    if role == "ts":
        if clock_formats(cells) and not date_formats(cells):
            return False  # times of a day: a small count, as of 1970, is none that people have
        return bool(readings_of(cells)) or bool(date_formats(cells))
    return all(is_numeric(text) for text in cells)


def _stamp(layout: Layout, place: int, rank: int, why: str) -> Candidate:
    """The stamp of a column, or of two if it is a date alone and a column of times stands beside it."""
    if date_formats(filled(layout, place)):
        for clock in range(layout.width):
            named = _CLOCK.search(plain(layout.names[clock]))
            if clock != place and named and clock_formats(filled(layout, clock)):
                why += ", a date, and its time stands in another column"
                return Candidate("ts", place, rank, why, clock)
    return Candidate("ts", place, rank, why)


def _times(layout: Layout) -> Iterator[Candidate]:
    """Columns that hold times, whatever they are called."""
    for place in range(layout.width):
        cells = filled(layout, place)
        if cells and len(set(cells)) > 1 and _looks_like_time(cells):
            yield Candidate("ts", place, 0, "it holds times")


def _looks_like_time(cells: Sequence[str]) -> bool:
    readings = readings_of(cells)
    if any("ts_format" in one.options for one in readings):
        return True
    return bool(readings) and all(len(text.split(".")[0]) >= 9 or "e" in text.lower() for text in cells)


def _by_values(layout: Layout) -> Iterator[Candidate]:
    """Without a header: a time, then four columns, one the highest and one the lowest of each row."""
    stamps = list(_times(layout))
    if not stamps:
        dates = [place for place in range(layout.width) if date_formats(filled(layout, place))]
        stamps = [Candidate("ts", place, 0, "it holds dates") for place in dates]
    taken: set[int] = set()
    for number, stamp in enumerate(stamps):
        clock = stamp.place + 1
        if (
            clock < layout.width
            and date_formats(filled(layout, stamp.place))
            and clock_formats(filled(layout, clock))
        ):
            stamp = Candidate("ts", stamp.place, number, "it holds dates, and the next column times", clock)
            taken.add(clock)
        taken.add(stamp.place)
        # The first time of a row is the bar's own; a later one is its close or the time of writing.
        yield Candidate("ts", stamp.place, number, stamp.why, stamp.clock)
    falling = bool(stamps) and is_falling(layout.column(stamps[0].place))
    prices = _prices(layout, taken, falling)
    if prices is None:
        return
    yield from prices
    behind = max(one.place for one in prices) + 1
    low, high = (next(one.place for one in prices if one.role == role) for role in ("low", "high"))
    numeric = [
        place
        for place in range(layout.width)
        if place not in taken
        and all(map(is_numeric, filled(layout, place)))
        and not is_average(layout, place, low, high)
    ]
    for rank, place in enumerate(place for place in numeric if place >= behind):
        why = "it stands behind the prices" if rank == 0 else "it holds numbers, behind the volume"
        yield Candidate("volume", place, rank, why)


def _unnamed_prices(layout: Layout) -> list[Candidate]:
    """Prices by what they hold, where a header names none of them in a language that is known here."""
    stamps = {one.place for one in _times(layout)}
    found = _prices(layout, stamps, bool(stamps) and is_falling(layout.column(min(stamps)))) or []
    places = sorted({one.place for one in found})
    if any(is_quote(layout.names[place]) for place in places):
        return []
    for row in layout.rows:
        numbers = [value for place in places if (value := number_of(row[place], {})) is not None]
        if numbers and not 0 < max(numbers) <= 2 * min(numbers):
            return []  # a bar does not double its price; sizes and counts beside prices do
    return found


def _possible_volumes(layout: Layout, found: Mapping[str, Sequence[Candidate]]) -> Iterator[Candidate]:
    """Columns of numbers that nothing was taken for, and that may be counts of what was traded."""
    taken = {one.place for some in found.values() for one in some}
    taken |= {one.clock for one in found["ts"] if one.clock is not None}
    low, high = (next((one.place for one in found[role]), None) for role in ("low", "high"))
    for place in possible_volumes(layout, taken, low, high):
        if names_a_volume(name := layout.names[place]):
            yield Candidate("volume", place, 2, f"its name {name!r} has a word for a volume")
        else:
            yield Candidate("volume", place, 3, DOUBTFUL)


def _prices(layout: Layout, taken: set[int], falling: bool) -> list[Candidate] | None:
    """Four columns side by side, the highest and the lowest of each row among them.

    falling: whether the newest row comes first.
    """
    step = -1 if falling else 1
    numbers = [
        [number_of(text, {}) for text in layout.column(place)][::step] for place in range(layout.width)
    ]
    for start in range(layout.width - 3):
        places = range(start, start + 4)
        if taken & set(places) or any(all(value is None for value in numbers[p]) for p in places):
            continue
        rows = [
            row
            for values in zip(*(numbers[place] for place in places), strict=True)
            if (row := [value for value in values if value is not None])
            and len(row) == 4
            and len(set(row)) > 1
        ]
        tops = [k for k in range(4) if all(row[k] == max(row) for row in rows)]
        bottoms = [k for k in range(4) if all(row[k] == min(row) for row in rows)]
        if not rows or len(tops) != 1 or len(bottoms) != 1 or tops == bottoms:
            continue
        high, low = start + tops[0], start + bottoms[0]
        first, second = (place for place in places if place not in (high, low))
        near = _nearness(numbers[first], numbers[second])
        found = [
            Candidate("high", high, 0, "no price of its row is above it"),
            Candidate("low", low, 0, "no price of its row is below it"),
        ]
        return found + _open_and_close(first, second, near)
    return None


def _open_and_close(first: int, second: int, near: tuple[float, float]) -> list[Candidate]:
    """Prices go on from bar to bar: an open lies near the close before. Else both orders fit."""
    here, there = near
    if here * 3 <= there and there > 0:
        why = "from bar to bar the open lies near the close before"
        return [Candidate("open", first, 0, why), Candidate("close", second, 0, why)]
    if there * 3 <= here and here > 0:
        why = "from bar to bar the open lies near the close before"
        return [Candidate("open", second, 0, why), Candidate("close", first, 0, why)]
    why = "the values do not tell the open from the close"
    return [
        Candidate("open", first, 0, why),
        Candidate("open", second, 0, why),
        Candidate("close", second, 0, why),
        Candidate("close", first, 0, why),
    ]


def _nearness(first: Sequence[float | None], second: Sequence[float | None]) -> tuple[float, float]:
    """Sums of distances from each open to the close before: with `first` as open, and with `second`."""

    def distance(opens: Sequence[float | None], closes: Sequence[float | None]) -> float:
        pairs = zip(opens[1:], closes, strict=False)
        return sum(abs(o - c) for o, c in pairs if o is not None and c is not None)

    return distance(first, second), distance(second, first)
