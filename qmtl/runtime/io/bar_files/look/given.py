"""The options that a person gave for a file, in place of what was seen in it."""

from __future__ import annotations

from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.names import place_of
from qmtl.runtime.io.bar_files.look.roles import Candidate, Roles
from qmtl.runtime.io.bar_files.option_values import parse_columns
from qmtl.runtime.io.bar_files.options import ReadingOptions


def roles_as_given(layout: Layout, roles: Roles, given: ReadingOptions) -> Roles | None:
    """The roles, where a person named columns with these alone; None if the table lacks one of those."""
    columns = parse_columns(given.get("columns"), separate_stamps=bool(given.get("date")))
    places = {role: place for place, role in enumerate(columns.order) if role and place < layout.width}
    named = dict(columns.named)
    date, time = given.get("date"), given.get("time")
    if date and time:
        named |= {"ts": date}
    found = {role: place_of(name, layout.names) for role, name in named.items()}
    clock = place_of(time, layout.names) if date and time else None
    if None in found.values() or (time and clock is None) or len(columns.order) > layout.width:
        return None
    places |= {role: place for role, place in found.items() if place is not None}
    fixed: dict[str, tuple[Candidate, ...]] = {
        role: (Candidate(role, place, 0, "you named it"),) for role, place in places.items()
    }
    if clock is not None:
        fixed["ts"] = (Candidate("ts", places["ts"], 0, "you named it", clock),)
    if not columns.has_volume:
        fixed["volume"] = ()
    taken = {*places.values(), clock}
    free = {
        role: tuple(one for one in some if one.place not in taken and one.clock not in taken - {None})
        for role, some in roles.items()
        if role not in fixed
    }
    return {**free, **fixed}
