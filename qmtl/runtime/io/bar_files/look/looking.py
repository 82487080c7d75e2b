"""Look at a file: take a sample, see what may be a table, and let the reader of imports judge each way."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack, cast

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import Anchor, SeriesFacts
from qmtl.foundation.series import SeriesId, Timeframe
from qmtl.runtime.io.bar_files.look.advice import (
    advice,
    advice_on_volume,
    cut_bar,
    differences,
    several_forms,
)
from qmtl.runtime.io.bar_files.look.contents import Contents, contents_of
from qmtl.runtime.io.bar_files.look.documents import object_in
from qmtl.runtime.io.bar_files.look.encodings import visible
from qmtl.runtime.io.bar_files.look.given import roles_as_given
from qmtl.runtime.io.bar_files.look.identities import matching_rows, other_series
from qmtl.runtime.io.bar_files.look.layout import Layout
from qmtl.runtime.io.bar_files.look.looks import Column, Look, columns_of
from qmtl.runtime.io.bar_files.look.names import rank_of
from qmtl.runtime.io.bar_files.look.proposals import missing_roles
from qmtl.runtime.io.bar_files.look.roles import candidates_of
from qmtl.runtime.io.bar_files.look.sample import Sample, take_sample
from qmtl.runtime.io.bar_files.look.tables import Table, tables_of
from qmtl.runtime.io.bar_files.look.trial import Reading as Trial
from qmtl.runtime.io.bar_files.look.trial import Refusal
from qmtl.runtime.io.bar_files.look.values import is_nothing, is_numeric
from qmtl.runtime.io.bar_files.look.ways import as_given, options_of, tried
from qmtl.runtime.io.bar_files.many import files_of
from qmtl.runtime.io.bar_files.options import Reading, ReadingOptions
from qmtl.runtime.io.bar_files.unpacking import FORMATS


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
    Raises `InvalidRequestError` if there is no such file, it cannot be opened, or an option cannot be used.
    """
    series = SeriesId.parse(series) if isinstance(series, str) else series
    given = _meaning(given)
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


def _meaning(given: ReadingOptions) -> ReadingOptions:
    """The options that say something. Raises `InvalidRequestError` for one that cannot be used."""
    options = {name: value for name, value in given.items() if value not in (None, "", 0, (), [], {})}
    Reading.of(cast(ReadingOptions, options))
    return cast(ReadingOptions, options)


def _no_number(table: Table, layout: Layout, missing: Sequence[str]) -> InvalidRequestError | None:
    """For a column that is called like a bar column, and holds something that is no number."""
    for role, place in itertools.product(missing, range(layout.width)):
        texts = layout.column(place)
        words = [text for text in texts if not is_numeric(text) and not is_nothing(text)]
        if role == "ts" or rank_of(layout.names[place], role) is None or not 0 < 2 * len(words) < len(texts):
            continue
        row = next((line for line in table.lines if words[0] in line), "")
        return InvalidRequestError(
            f"column {layout.names[place]!r} holds {words[0]!r}, which is no number",
            why=f"{len(words)} of the {len(texts)} rows seen are like this: {visible(row)[:80]!r}",
            next_step="fix the file, or say which words stand for no value with `null=WORD`",
        )
    return None


def _no_column(layout: Layout, missing: Sequence[str]) -> InvalidRequestError:
    """For bar columns that no column of a table may be, with what stands in the way if that is seen."""
    for place, name in enumerate(layout.names):
        value = object_in(layout.column(place))
        if value is not None:
            return InvalidRequestError(
                f"column {name!r} holds objects, with the keys {', '.join(map(repr, value))}",
                why="each value of a bar stands in a column of its own",
                next_step=f'write them flat: jq -c \'. + .["{name}"] | del(.["{name}"])\' FILE > flat.jsonl',
            )
        if any(text.startswith("[") for text in layout.column(place)):
            return InvalidRequestError(
                f"column {name!r} holds lists",
                why="each row of the table holds one bar",
                next_step="write the list into a file of its own, for example with jq, and look at that",
            )
    return InvalidRequestError(
        f"no column is seen for {', '.join(missing)}",
        why="a bar has a time and four prices",
        next_step="name the columns with `columns=`; a file without these prices holds no bars",
    )


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
        look,
        table=table.options.get("table", ""),
        facts=table.facts,
        first=table.first,
        last=table.last,
        cautions=() if table.doubt is None else (table.doubt,),
    )
    layout = table.layout
    if layout is None:
        why = "no lines of it hold a time and four numbers, separated by one mark"
        error = InvalidRequestError("no table of bars is seen", why=why)
        step = "check that this file holds bars: rows of a time, four prices and a volume"
        return replace(look, refusal=Refusal({}, error), next_step=step)
    if (ragged := _ragged(layout)) is not None:
        return replace(look, refusal=Refusal({}, ragged), next_step=ragged.next_step)
    layout = matching_rows(layout, given)
    roles = candidates_of(layout)
    given_roles = roles_as_given(layout, roles, given)
    columns = columns_of(layout, given_roles or roles)
    look = replace(look, columns=columns)
    if given_roles is not None and (missing := missing_roles(given_roles)):
        error = _no_number(table, layout, missing) or _no_column(layout, missing)
        return replace(look, refusal=Refusal({}, error), next_step=error.next_step)
    symbol = None if look.series is None else SeriesId.parse(look.series).symbol
    # Columns that are not there are for the reader to refuse, which knows what there is.
    ways = (
        iter([as_given(table, given)])
        if given_roles is None
        else options_of(replace(table, layout=layout), given_roles, symbol, given)
    )
    readings, refusal = tried(table, ways, given, timeframe, facts)
    if refusal is not None and not readings:
        refusal = replace(refusal, error=_of_the_file(refusal.error, table, look.name))
        return replace(look, refusal=refusal, next_step=refusal.error.next_step)
    complete = tuple(replace(one, options={**table.command_only, **one.options}) for one in readings)
    taken = _taken(columns, readings[0])
    return replace(
        look,
        columns=taken,
        readings=complete,
        differences=tuple(differences(readings, table.lines)),
        cautions=(*look.cautions, *cut_bar(table, readings), *advice_on_volume(taken, readings[0])),
        notes=(
            *look.notes,
            *advice(readings, timeframe),
            *several_forms(table, layout, taken),
            *other_series(layout, taken),
        ),
    )


def _ragged(layout: Layout) -> InvalidRequestError | None:
    """For rows with more fields than names: most often decimal commas in a file separated by commas.

    And for rows of several widths, of which only some would be read.
    """
    if layout.unlike is not None:
        line = layout.separator.join(layout.unlike)
        return InvalidRequestError(
            f"a line looks like a bar, and is not written like the others: {line[:80]!r}",
            why=f"most rows have {layout.width} fields, and it has {len(layout.unlike)}",
            next_step="write all rows alike, or cut the file where it changes, and import each part",
        )
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


def _taken(columns: tuple[Column, ...], reading: Trial) -> tuple[Column, ...]:
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
