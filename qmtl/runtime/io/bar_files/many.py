"""A folder or a pattern of files is one table: read one by one, in the order of their names."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import polars as pl

from qmtl.foundation.calendars import Calendar
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import Timeframe
from qmtl.runtime.io.bar_files.collecting import OnRead
from qmtl.runtime.io.bar_files.option_values import ANYTHING, condition_text
from qmtl.runtime.io.bar_files.options import ReadingOptions
from qmtl.runtime.io.bar_files.reading import BarFile, read_bar_file
from qmtl.runtime.io.bar_files.unpacking import FORMATS, PACKINGS

_SHOWN = 5


def read_bar_files(
    path: str | Path,
    *,
    timeframe: Timeframe | str,
    calendar: Calendar | None = None,
    on_progress: OnRead | None = None,
    **options: Unpack[ReadingOptions],
) -> BarFile:
    """The bars of a file, of all files of a folder, or of all that a pattern names.

    All are read by the same options. Rows that occur in several files are kept, so that the caller
    can check both. Raises `InvalidRequestError` if one cannot be read, or if they say that they are
    of different series.
    """
    paths, left_out = files_of(path)
    files: list[BarFile] = []
    for each in paths:
        try:
            file = read_bar_file(
                each, timeframe=timeframe, calendar=calendar, on_progress=on_progress, **options
            )
        except InvalidRequestError as error:
            error.file = str(each) if len(paths) > 1 else None
            raise
        files.append(file)
    notes = _notes(files) + _note_of_left_out(left_out)
    if len(files) == 1 and not left_out:
        return files[0]
    names = tuple(file.name for file in files)
    return BarFile(
        pl.concat([file.frame for file in files]),
        np.concatenate([file.lines for file in files]),
        files[0].place,
        str(path),
        Path(path).name,
        files[0].has_volume,
        _agreed(files),
        notes,
        names,
        np.repeat(np.arange(len(files)), [file.frame.height for file in files]),
    )


def files_of(path: str | Path) -> tuple[list[Path], list[str]]:
    """The files that a path means, in the order of their names, and names of others in a folder.

    A path that exists is what it is, whatever stars are in its name. Raises `InvalidRequestError` if a folder
    or a pattern has no file.
    """
    path = Path(path)
    if path.is_dir():
        there = sorted(each for each in path.iterdir() if not each.name.startswith("."))
        found = [each for each in there if each.is_file() and _is_table(each)]
        others = [each.name for each in there if each not in found]
        if not found:
            raise InvalidRequestError(
                f"the folder {path} holds no file of bars",
                why=f"it holds: {', '.join(others[:_SHOWN]) or 'nothing'}",
                next_step=f"files are told by their suffix: {' '.join(FORMATS)}",
            )
        return found, others
    if path.exists() or not glob.has_magic(str(path)):
        return [path], []
    found = sorted(Path(each) for each in glob.glob(str(path)) if Path(each).is_file())
    if not found:
        raise InvalidRequestError(
            f"no file is called like {path}", next_step="check the pattern, and quote it for the shell"
        )
    return found, []


def _is_table(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKINGS:
        return suffixes[-1] == ".zip" or (len(suffixes) > 1 and suffixes[-2] in FORMATS)
    return bool(suffixes) and suffixes[-1] in FORMATS


def _agreed(files: Sequence[BarFile]) -> tuple[tuple[str, str], ...]:
    """What the files say they are of, together."""
    values: dict[str, tuple[str, str]] = {}
    for file in files:
        for column, value in file.identities:
            first = values.setdefault(column, (value, file.name))
            if first[0] != value:
                raise InvalidRequestError(
                    "the files hold several series",
                    why=f"column {column!r} says {first[0]!r} in {first[1]}, and {value!r} in {file.name}",
                    next_step="import each series by itself; if the column does not tell series apart, say "
                    f"`where='{condition_text(column, ANYTHING)}'`",
                )
    return tuple((column, value) for column, (value, _) in values.items())


def _notes(files: Sequence[BarFile]) -> tuple[str, ...]:
    """Each note once, with the file that it is about if it is not about all."""
    counts = Counter(note for file in files for note in file.notes)
    notes: dict[str, None] = {}
    for file in files:
        for note in file.notes:
            notes[note if counts[note] == len(files) else f"{file.name}: {note}"] = None
    return tuple(notes)


def _note_of_left_out(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (f"left out, being no files of bars: {', '.join(names[:_SHOWN])}{more}",)
