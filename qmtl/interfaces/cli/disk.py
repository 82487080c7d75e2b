"""Errors for a disk that is full, or that may not be written."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from qmtl.foundation.errors import QmtlError, StoreError

_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


def disk_error(error: BaseException, path: Path | None = None) -> StoreError | None:
    """The error for a person, if it is the disk's and not one of ours.

    path: the requested file, where the caller knows it; what is written is a part beside it.
    """
    if isinstance(error, QmtlError) or _fault(error) not in _FAULTS:
        return None
    name = path or getattr(error, "filename", None) or "a file"
    return StoreError(
        f"{name} cannot be written",
        why=os.strerror(_fault(error)),
        next_step="free some space, or write elsewhere; nothing half-written was kept",
    )


def _fault(error: BaseException) -> int:
    """The number of the operating system's error, 0 if it is none."""
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    found = re.search(r"\(os error (\d+)\)", str(error))  # as polars says it
    return int(found[1]) if found else 0
