"""What a store holds becomes a version of a table of Delta Lake, by names and times that people write."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError
from qmtl.foundation.local_paths import folder_path, is_address
from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.snapshots.addresses import is_object_store
from qmtl.runtime.io.snapshots.delta import DeltaWritten, write_delta
from qmtl.runtime.io.snapshots.writing import Progress, nothing_known
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.sdk.snapshot_export import chosen_series, span_between


def export_delta(
    store: Store,
    dest: str | PathLike[str],
    *,
    series: Iterable[SeriesId | str] | None = None,
    start: Any = None,
    end: Any = None,
    as_of: Any = None,
    progress: Progress | None = None,
) -> DeltaWritten:
    """Write what a store holds at one commit as the next version of a table of Delta Lake.

    Arguments are those of `export_snapshot`. Raises as `write_delta`, and `MissingDependencyError` without
    the library.
    """
    if find_spec("deltalake") is None:
        raise MissingDependencyError("deltalake", extra="delta")
    text = os.fspath(dest)
    if isinstance(dest, str) and is_address(text):
        if not is_object_store(text):
            raise InvalidRequestError(
                "a table of Delta is a folder, or lies in an object store", next_step="write s3://bucket/path"
            )
        where = text
    else:
        where = os.path.abspath(folder_path(dest, "a table of Delta").expanduser())
        _refuse_others(Path(where))
    span = span_between(start, end)
    point = store.newest().as_of if as_of is None else to_ns(as_of, name="as_of")
    names = chosen_series(store, series)
    if not names:
        raise InvalidRequestError(
            "the store has no series to write", next_step="fill it with `qmtl import` or `qmtl fetch`"
        )
    if as_of is not None and not any(one.as_of <= point for name in names for one in store.commits(name)):
        raise nothing_known(point)
    return write_delta(store, where, names, span=span, as_of=point, progress=progress or (lambda *_: None))


def _refuse_others(folder: Path) -> None:
    """The library would write beside whatever is there, such as a store."""
    if folder.exists() and not folder.is_dir():
        raise InvalidRequestError(f"{folder} is a file, and a table is a folder", next_step="name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / "_delta_log").is_dir():
        raise InvalidRequestError(
            f"{folder} is not empty, and no table of Delta", next_step="name a new folder, or an empty one"
        )
