"""Frames become files, by the suffix of their name: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.interfaces.cli.disk import disk_error
from qmtl.interfaces.cli.outputs import check_no_store, check_unread

if TYPE_CHECKING:
    import polars as pl

    from qmtl.interfaces.cli.session import Session

Frames = Iterable["pl.DataFrame"]

# ISO 8601 in UTC; the fraction shows only where there is one.
_ISO = "%Y-%m-%dT%H:%M:%S%.fZ"


def check_target(session: Session, series: str, path: Path | None) -> None:
    """Raise `InvalidRequestError` now, before any work, if `write_frames` could not write there."""
    if path is None:
        return
    if path.suffix.lower() not in WRITERS:
        raise InvalidRequestError(
            f"the format of {path} is not known",
            why=f"its suffix is {path.suffix!r}" if path.suffix else "it has no suffix",
            next_step=f"let the name end with one of {', '.join(WRITERS)}",
        )
    check_folder(session, series, path)


def check_folder(session: Session, series: str, path: Path) -> None:
    """Raise `InvalidRequestError` if no file can be made at `path`, or none should."""
    check_place(path)
    check_unread(path, session, series)


def check_place(path: Path) -> None:
    """Raise `InvalidRequestError` if no file can be made at `path`, or a store is there."""
    folder = path.parent
    if not folder.is_dir():
        raise InvalidRequestError(f"the folder of {path} is not there", next_step=f"mkdir -p {folder}")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise InvalidRequestError(
            f"{path} cannot be written", why="it is a folder" if path.is_dir() else f"{folder} is read-only"
        )
    check_no_store(path)


def write_frames(path: Path, frames: Frames) -> None:
    """One file of all frames (at least one, all of one schema), as Parquet, CSV, Arrow IPC or JSON."""
    with replacing(path) as file:
        WRITERS[path.suffix.lower()](file, frames)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place at the end; an error leaves `path` as it was.

    Raises `StoreError` that names `path` where the disk is full, or cannot be written, and
    `InvalidRequestError` if `path` is a file of a store, which may have been made since the command began.
    """
    check_no_store(path)
    try:
        with _part_of(path) as file:
            yield file
    except Exception as error:  # each library that writes a format has its own error for a full disk
        failure = disk_error(error, path)
        if failure is None:
            raise
        raise failure from error


@contextmanager
def _part_of(path: Path) -> Iterator[IO[bytes]]:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private; what a person asked for has the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def with_iso_times(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as ISO 8601 text, for formats that have no type for them."""
    import polars as pl

    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(times).dt.to_string(_ISO)) if times else frame


def _parquet(file: IO[bytes], frames: Frames) -> None:
    import pyarrow.parquet as pq

    _arrow_tables(frames, lambda schema: pq.ParquetWriter(file, schema, compression="zstd"))


def _arrow(file: IO[bytes], frames: Frames) -> None:
    import pyarrow as pa

    _arrow_tables(frames, lambda schema: pa.ipc.new_file(file, schema))


def _arrow_tables(frames: Frames, open_writer: Callable[[Any], Any]) -> None:
    tables = (frame.to_arrow() for frame in frames)
    first = next(tables)
    with open_writer(first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _csv(file: IO[bytes], frames: Frames) -> None:
    for number, frame in enumerate(frames):
        with_iso_times(frame).write_csv(file, include_header=number == 0)


def _json(file: IO[bytes], frames: Frames) -> None:
    """One array of objects, a line each."""
    file.write(b"[")
    before = b"\n"
    for frame in frames:
        if frame.height:
            lines = with_iso_times(frame).write_ndjson().encode().rstrip(b"\n")
            file.write(before + lines.replace(b"\n", b",\n"))
            before = b",\n"
    file.write(b"\n]\n")


WRITERS: dict[str, Callable[[IO[bytes], Frames], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".arrow": _arrow,
    ".json": _json,
}
