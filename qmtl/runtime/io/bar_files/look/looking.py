"""Look at a file: take a sample, see what may be a table, and let the reader of imports judge each way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Unpack

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import Anchor, SeriesFacts
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.runtime.io.bar_files.look.contents import Contents, contents_of
from qmtl.runtime.io.bar_files.look.encodings import visible
from qmtl.runtime.io.bar_files.look.identities import other_series
from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.looks import Column, Difference, Look, bar_text, columns_of, length
from qmtl.runtime.io.bar_files.look.proposals import Options, missing_roles, proposals
from qmtl.runtime.io.bar_files.look.roles import Roles, candidates_of
from qmtl.runtime.io.bar_files.look.sample import Sample, take_sample
from qmtl.runtime.io.bar_files.look.tables import Table, tables_of
from qmtl.runtime.io.bar_files.look.trial import Reading, Refusal, attempt, simplest
from qmtl.runtime.io.bar_files.many import files_of
from qmtl.runtime.io.bar_files.options import ReadingOptions
from qmtl.runtime.io.bar_files.unpacking import FORMATS

_TRIALS = 48  # ways of reading that are tried at most
_MOST = 6  # readings that are shown
_SHOWN_DIFFERENCES = 2
# Options that say the same thing: who gives one of them has decided it.
_TOGETHER = (
    ("unit", "ts_format"),
    ("columns", "date", "time"),
    ("decimal", "thousands"),
)


def look_at(
    path: str | Path,
    *,
    series: SeriesId | str | None = None,
    calendar: str | None = None,
    anchor: Anchor | None = None,
    **given: Unpack[ReadingOptions],
) -> Look:
    """What a file holds, and how it can be read: nothing is imported, and nothing of it is guessed.

    Only the first 64 KiB and the last 32 KiB are read, however long it is (of Parquet, the first rows; of a
    JSON document that makes no sense cut, up to 16 MiB).
    Of a folder or a pattern of files the first is looked at.
    series: whose bars it holds; its timeframe is then not asked of the file. calendar, anchor: declared
    of it.
    given: what is known already of how the file is written; a look only asks for the rest.
    Raises `InvalidRequestError` if there is no such file, or it cannot be opened.
    """
    series = SeriesId.parse(series) if isinstance(series, str) else series
    files, _ = files_of(path)
    sample = take_sample(files[0])
    contents = contents_of(sample.head)
    look = Look(
        name=sample.name,
        path=str(path),
        what=contents.what,
        size=sample.size,
        series=None if series is None else series.text,
        notes=_notes(sample, contents, len(files)),
    )
    if contents.kind == "other":
        return replace(look, next_step=contents.next_step)
    with tempfile.TemporaryDirectory(prefix="qmtl-") as folder:
        try:
            tables = tables_of(sample, contents, Path(folder), given)
        except InvalidRequestError as error:
            return replace(look, refusal=Refusal({}, error), next_step=error.next_step)
        timeframe = None if series is None else series.timeframe
        facts = SeriesFacts(calendar=calendar, anchor=anchor)
        looks = [_judged(look, table, given, timeframe, facts) for table in tables]
    # The first part of a document that can be read, else the first that is there.
    chosen = next((one for one in looks if one.readings), looks[0])
    others = [one.table for one in looks if one.readings and one is not chosen]
    note = f"`table=` reads another part: {', '.join(others[:5])}{', ...' if others[5:] else ''}"
    return replace(chosen, notes=(*chosen.notes, note)) if others else chosen


def _notes(sample: Sample, contents: Contents, files: int) -> tuple[str, ...]:
    notes = []
    if files > 1:
        notes.append(f"the first of {files} files was looked at; an import takes all of them, or none")
    if sample.others:
        others = ", ".join(sample.others[:5]) + (", ..." if sample.others[5:] else "")
        notes.append(f"the archive also holds {others}; `table=` names the one that is meant")
    if not sample.whole:
        ends = "start and its end" if sample.tail and contents.kind == "text" else "start"
        notes.append(f"only its {ends} was looked at; an import reads all of it")
    if sample.suffix not in FORMATS:
        notes.append(
            f"an import knows a file by its suffix: let its name end with one of {' '.join(FORMATS)}"
        )
    return tuple(notes)


def _judged(
    look: Look, table: Table, given: ReadingOptions, timeframe: Timeframe | None, facts: SeriesFacts
) -> Look:
    look = replace(
        look, table=table.options.get("table", ""), facts=table.facts, first=table.first, last=table.last
    )
    layout = table.layout
    if layout is None:
        why = "no lines of it hold a time and four numbers, separated by one mark"
        error = InvalidRequestError("no table of bars is seen", why=why)
        step = "check that this file holds bars: rows of a time, four prices and a volume"
        return replace(look, refusal=Refusal({}, error), next_step=step)
    if (ragged := _ragged(layout)) is not None:
        return replace(look, refusal=Refusal({}, ragged), next_step=ragged.next_step)
    roles = candidates_of(layout)
    columns = columns_of(layout, roles)
    look = replace(look, columns=columns)
    if not given.get("columns") and (missing := missing_roles(roles)):
        error = InvalidRequestError(
            f"no column is seen for {', '.join(missing)}",
            why="a bar has a time and four prices",
            next_step="name the columns with `columns=`; a file without these prices holds no bars",
        )
        return replace(look, refusal=Refusal({}, error), next_step=error.next_step)
    readings, refusal = _tried(table, _options(table, roles, look.series, given), timeframe, facts)
    if not readings:
        assert refusal is not None
        refusal = replace(refusal, error=_of_the_file(refusal.error, table, look.name))
        return replace(look, refusal=refusal, next_step=refusal.error.next_step)
    said = tuple(replace(one, options={**table.only_said, **one.options}) for one in readings)
    taken = _taken(columns, readings[0])
    return replace(
        look,
        columns=taken,
        readings=said,
        differences=tuple(_differences(readings, table.lines)),
        notes=(*look.notes, *_advice(readings, timeframe), *other_series(layout, taken)),
    )


def _ragged(layout: Layout) -> InvalidRequestError | None:
    """For rows with more fields than names: most often decimal commas in a file separated by commas."""
    names = len(layout.above[-1]) if layout.above and layout.header is None else 0
    if not 5 <= names < layout.width or layout.separator != ",":
        return None
    return InvalidRequestError(
        f"the rows have {layout.width} fields, and the line above them names {names}",
        why="a comma seems to be the decimal mark and to separate fields too; nothing tells them apart",
        next_step="write the file again with another separator, such as ';', or with decimal points",
    )


def _of_the_file(error: InvalidRequestError, table: Table, name: str) -> InvalidRequestError:
    """The error of a trial, as one of the file itself."""

    def renamed(text: str | None) -> str | None:
        for path in (table.head, table.end):
            text = text and text.replace(str(path), name)
        return text

    return InvalidRequestError(renamed(error.what) or "", why=renamed(error.why), next_step=error.next_step)


def _options(table: Table, roles: Roles, series: str | None, given: ReadingOptions) -> Iterator[Options]:
    """What may read the table: what was seen, as far as nobody has said it already."""
    assert table.layout is not None
    decided = {name for group in _TOGETHER for name in group if any(given.get(one) for one in group)}
    said: Options = {name: value for name, value in given.items() if value not in (None, "", 0, (), [])}
    seen = set[str]()
    for options in proposals(
        table.layout, roles, is_text=table.is_text, temporal=table.temporal, symbol=_symbol(series)
    ):
        free = {name: value for name, value in options.items() if name not in decided}
        whole = {**table.options, **free, **said}
        if (form := repr(sorted(whole.items(), key=str))) not in seen:
            seen.add(form)
            yield whole


def _symbol(series: str | None) -> str | None:
    return None if series is None else SeriesId.parse(series).symbol


def _tried(
    table: Table, ways: Iterator[Options], timeframe: Timeframe | None, facts: SeriesFacts
) -> tuple[list[Reading], Refusal | None]:
    """All ways that give bars, no two of them the same, in their simplest form; and why the first fails."""
    readings: list[Reading] = []
    refusal: Refusal | None = None
    for options in islice(ways, _TRIALS):
        found = _attempted(table, options, timeframe, facts)
        if isinstance(found, Refusal):
            refusal = refusal or found
        elif not any(found.frame.equals(one.frame) for one in readings):
            readings.append(found)
    return [simplest(table.head, one, table.end) for one in readings[:_MOST]], refusal


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
            return replace(found, options=labelled, whole=labelled)
        if found.timeframe is None:  # the stamps themselves are not read so: no label helps
            return found
        # What stands in the way of bars of a day is told by the label for them.
        if refusal is None or not found.timeframe.is_intraday:
            refusal = found
    assert refusal is not None
    return refusal


def _variants(options: Options, facts: SeriesFacts) -> Iterator[tuple[str, SeriesFacts]]:
    """Labels and anchors to try, where nobody has said them."""
    if "label" in options:
        yield options["label"], facts
        return
    yield "open", facts
    if facts.calendar is not None and facts.anchor is None:
        yield "open", replace(facts, anchor="session")
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


def _taken(columns: tuple[Column, ...], reading: Reading) -> tuple[Column, ...]:
    """The columns, with what this reading takes them for."""
    roles = reading.roles(tuple(column.name for column in columns))
    return tuple(
        replace(
            column, role=roles.get(column.place), why=column.why if roles.get(column.place) else _also(column)
        )
        for column in columns
    )


def _also(column: Column) -> str:
    return f"not used; it could be {column.role}: {column.why}" if column.role else "not used"


def _differences(readings: Sequence[Reading], lines: Sequence[str]) -> Iterator[Difference]:
    """The first rows that are not the same bar under all readings."""
    if len(readings) < 2:
        return
    shown = 0
    for row in range(min(one.frame.height for one in readings)):
        meanings = tuple(bar_text(one, row) for one in readings)
        if len(set(meanings)) > 1 and shown < _SHOWN_DIFFERENCES:
            line = int(readings[0].lines[row])
            yield Difference(
                readings[0].place, line, visible(lines[line - 1]) if line <= len(lines) else "", meanings
            )
            shown += 1


def _advice(readings: Sequence[Reading], timeframe: Timeframe | None) -> Iterator[str]:
    """What no file can tell, and a person should know before typing the command."""
    first = readings[0]
    if timeframe is not None and first.step and first.step != timeframe.step:
        yield f"the series is of {timeframe} bars, and the rows are {length(first.step)} apart"
    if first.timeframe.is_intraday and "label" not in first.options:
        yield "stamps were taken for the open of their bars; if they are the close, add `label=close`"
    if "volume=" in str(first.options.get("columns", "")).split(","):
        yield "no column was taken for the volume: `columns='volume='` declares that the source has none"
    for rule, count in first.impossible.items():
        yield f"{count} of the {first.frame.height} rows seen break {rule}, and an import would refuse them"
