"""An error of the disk is told from one of ours, by the operating system's number wherever it stands."""

from __future__ import annotations

import errno
from pathlib import Path

import polars as pl
import pytest

from qmtl.foundation.errors import StoreError
from qmtl.interfaces.cli.disk import disk_error


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO]
)
def test_errors_of_the_disk(number: int) -> None:
    found = disk_error(OSError(number, "as the system says", "bars.csv"))
    assert isinstance(found, StoreError)
    assert str(found).startswith("bars.csv cannot be written")


def test_the_file_that_was_requested_is_named() -> None:
    found = disk_error(OSError(errno.ENOSPC, "no room", "bars.csv.part"), Path("bars.csv"))
    assert str(found).startswith("bars.csv cannot be written")


def test_as_polars_says_it() -> None:
    assert disk_error(pl.exceptions.ComputeError("cannot write: No space left (os error 28)")) is not None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOENT, "no such file"),
        ValueError("no number"),
        pl.exceptions.ComputeError("no such file (os error 2)"),
        StoreError("this one is ours already (os error 28)"),
    ],
)
def test_all_others_are_left_alone(error: Exception) -> None:
    assert disk_error(error) is None
