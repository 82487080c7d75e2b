"""All ways to read a table that are tried, and what each comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import Timeframe
from qmtl.runtime.io.bar_files.look.names import place_of
from qmtl.runtime.io.bar_files.look.proposals import Options, proposals, shape_of
from qmtl.runtime.io.bar_files.look.roles import Roles
from qmtl.runtime.io.bar_files.look.tables import Table
from qmtl.runtime.io.bar_files.look.trial import Reading, Refusal, attempt, simplest
from qmtl.runtime.io.bar_files.option_values import condition_text, parse_where
from qmtl.runtime.io.bar_files.options import ReadingOptions

_TRIALS = 48  # ways of reading that are tried at most
_MOST = 6  # readings that are shown
# Options with the same meaning: giving one of them decides them all.
_TOGETHER = (("unit", "ts_format"), ("decimal", "thousands"))


def options_of(table: Table, roles: Roles, symbol: str | None, given: ReadingOptions) -> Iterator[Options]:
    """Options that may read the table: those seen in the file, where none were given; at least one way.

    roles: as a person gave them. symbol: of the series, if it is known.
    """
    assert table.layout is not None  # a table without a layout is refused before
    decided = {name for group in _TOGETHER for name in group if given.get(name)}
    conditions = parse_where(given.get("where"))
    declared = {place_of(name, table.layout.names) for name in conditions} - {None}
    seen = set[str]()
    for options in proposals(
        table.layout,
        roles,
        is_text=table.is_text,
        temporal=table.temporal,
        symbol=symbol,
        declared=frozenset(place for place in declared if place is not None),
    ):
        free = {name: value for name, value in options.items() if name not in decided}
        combined = _joined({**table.options, **free}, given)
        if (form := repr(sorted(combined.items(), key=str))) not in seen:
            seen.add(form)
            yield combined
    if not seen:
        yield as_given(table, given)


def as_given(table: Table, given: ReadingOptions) -> Options:
    """The options that a person gave, with only the shape of the lines added."""
    shape = shape_of(table.layout) if table.is_text and table.layout is not None else {}
    return {**table.options, **shape, **given}


def _joined(seen: Options, given: ReadingOptions) -> Options:
    """The options seen and those given: given ones take precedence, and names of columns are merged."""
    of_columns = ("columns", "date", "time")  # what was given of them is part of the roles
    options = seen | {name: value for name, value in given.items() if name not in of_columns}
    if given.get("where"):
        conditions = parse_where(seen.get("where")) | parse_where(given.get("where"))
        options["where"] = ",".join(condition_text(*one) for one in conditions.items())
    return options


def tried(
    table: Table,
    ways: Iterator[Options],
    given: ReadingOptions,
    timeframe: Timeframe | None,
    facts: SeriesFacts,
) -> tuple[list[Reading], Refusal | None]:
    """All ways that give bars, without duplicates, in their simplest form; and why the first fails."""
    readings: list[Reading] = []
    refusal: Refusal | None = None
    for options in islice(ways, _TRIALS):
        found = _attempted(table, options, timeframe, facts)
        if isinstance(found, Refusal):
            refusal = refusal or found
        elif not any(found.frame.equals(one.frame) for one in readings):
            readings.append(found)
    return [simplest(table.head, one, table.end, given) for one in readings[:_MOST]], refusal


def _attempted(
    table: Table, options: Options, timeframe: Timeframe | None, facts: SeriesFacts
) -> Reading | Refusal:
    """The first label under which start and end of the table are bars, or why none is."""
    refusal: Refusal | None = None
    for label, declared in _variants(options, facts):
        labelled = options if label == "open" else {**options, "label": label}
        found = attempt(table.head, _without_foot(table, labelled), timeframe=timeframe, facts=declared)
        if isinstance(found, Reading) and table.end is not None:
            end = attempt(table.end, labelled, timeframe=found.timeframe, facts=declared)
            found = _unlike_its_start(end) if isinstance(end, Refusal) else found
        if isinstance(found, Reading):
            return replace(found, options=labelled, all_options=labelled)
        if found.timeframe is None:  # the stamps themselves are not read so: no label helps
            return found
        # For bars of a day the error of the label for them is the useful one.
        if refusal is None or not found.timeframe.is_intraday:
            refusal = found
    assert refusal is not None
    return refusal


def _variants(options: Options, facts: SeriesFacts) -> Iterator[tuple[str, SeriesFacts]]:
    """Labels and anchors to try, where none was given."""
    if "label" in options:
        yield options["label"], facts
        return
    yield "open", facts
    if facts.calendar is not None and facts.anchor is None:
        yield "open", replace(facts, anchor="session")
    if facts.anchor != "session":  # the last bar of a session may be short: its close tells no open
        yield "close", facts
    yield "session", facts


def _unlike_its_start(end: Refusal) -> Refusal:
    error = InvalidRequestError(
        f"the end of the file is not written like its start: {end.error.what}",
        why=end.error.why,
        next_step=end.error.next_step,
    )
    return replace(end, error=error, timeframe=None)


def _without_foot(table: Table, options: Options) -> Options:
    """The options for the start of a table whose end stands in a file of its own."""
    return options if table.end is None else {k: v for k, v in options.items() if k != "skip_foot"}
