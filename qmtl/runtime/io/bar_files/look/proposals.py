"""From what columns may be to the options that would read them so: all combinations that fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from qmtl.runtime.io.bar_files.look.identities import condition
from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.roles import PRICES, Candidate, Roles, best, filled
from qmtl.runtime.io.bar_files.look.times import clock_formats, date_formats, readings_of
from qmtl.runtime.io.bar_files.look.values import marks_of, null_words, scales_of

Options = dict[str, Any]


def missing_roles(roles: Roles) -> tuple[str, ...]:
    """What a bar cannot do without and no column may hold."""
    return tuple(role for role in ("ts", *PRICES) if not roles[role])


def proposals(
    layout: Layout,
    roles: Roles,
    *,
    is_text: bool,
    temporal: frozenset[int],
    symbol: str | None,
    declared: frozenset[int],
) -> Iterator[Options]:
    """Options of reading, the likeliest first; none if a role that every bar needs has no column.

    is_text: whether separators and lines belong to the file; tables of other formats have neither. temporal:
    places of columns whose type says that they are times. symbol: of the series, if it is known. declared:
    places of columns for which a person has given a condition.
    """
    if missing_roles(roles):
        return
    shape = shape_of(layout) if is_text else {}
    volumes: Sequence[Candidate | None] = best(roles["volume"]) or (None,)
    for stamp, (first, last), volume in itertools.product(
        _stamps(roles["ts"]), _open_and_close(roles), volumes
    ):
        chosen = {"open": first, "high": roles["high"][0], "low": roles["low"][0], "close": last}
        places = {role: one.place for role, one in chosen.items()}
        if volume is not None:
            places["volume"] = volume.place
        columns = _columns(layout, places, stamp, is_text)
        cells = [text for place in places.values() for text in layout.column(place)]
        words = null_words(cells)
        nulls: Options = {"null": ",".join(words)} if words else {}
        used = {*places.values(), stamp.place, *([] if stamp.clock is None else [stamp.clock])}
        where = condition(layout, used | declared, symbol)
        rows: Options = {"where": ",".join(where)} if where else {}
        times: list[Options] = [{}] if stamp.place in temporal else list(_times(layout, stamp))
        # Numbers that no marks explain are for the reader to refuse, which names the first of them.
        marks = marks_of(cells) or ({},)
        prices = [text for role in PRICES for text in layout.column(places[role])]
        for scale, mark, time in itertools.product(scales_of(prices), marks, times):
            yield {**shape, **columns, **mark, **scale, **nulls, **time, **rows}


def shape_of(layout: Layout) -> Options:
    """How lines become a table."""
    options: Options = {"separator": layout.separator}
    if layout.skip_head:
        options["skip_head"] = layout.skip_head
    if layout.foot:
        options["skip_foot"] = layout.foot
    return options


def _stamps(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """All columns that may be the stamp; a date beside a column of times is no stamp alone."""
    clocks = {one.clock for one in candidates if one.clock is not None}
    for one in candidates:
        if one.place not in clocks:
            yield one


def _open_and_close(roles: Roles) -> Iterator[tuple[Candidate, Candidate]]:
    for first, last in itertools.product(best(roles["open"]), best(roles["close"])):
        if first.place != last.place:
            yield first, last


def _columns(layout: Layout, places: dict[str, int], stamp: Candidate, is_text: bool) -> Options:
    """Columns by name where names tell them apart, else by their order."""
    if stamp.clock is None:
        places = {"ts": stamp.place, **places}
    if _by_name(layout, [*places.values(), stamp.clock], is_text):
        pairs = [f"{role}={layout.names[place]}" for role, place in places.items()]
        columns = ",".join(pairs if "volume" in places else [*pairs, "volume="])
        options: Options = {"columns": columns}
        if stamp.clock is not None:
            options |= {"date": layout.names[stamp.place], "time": layout.names[stamp.clock]}
        return options
    roles = {place: role for role, place in places.items()}
    last = max(roles)
    order = [roles.get(place, "") for place in range(last + 1)]
    columns = ",".join(order if "volume" in places else [*order, "volume="])
    options = {"columns": columns}
    if stamp.clock is not None:
        options |= {"date": f"column {stamp.place + 1}", "time": f"column {stamp.clock + 1}"}
    return options


def _by_name(layout: Layout, places: Sequence[int | None], is_text: bool) -> bool:
    if is_text and not layout.is_plain:
        return False
    names = [layout.names[place] for place in places if place is not None]
    plain = all(name and not set(name) & set(",=") for name in names)
    return plain and all(layout.names.count(name) == 1 for name in names)


def _times(layout: Layout, stamp: Candidate) -> Iterator[Options]:
    cells = filled(layout, stamp.place)
    if stamp.clock is None:
        yield from (one.options for one in readings_of(cells))
        return
    clocks = filled(layout, stamp.clock)
    for date, clock in itertools.product(date_formats(cells), clock_formats(clocks)):
        yield {"ts_format": "|".join(f"{one} {clock}" for one in date.split("|"))}
