"""Pickles of answers name the version that wrote them, and a version that reads another form refuses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.version import __version__

T = TypeVar("T")

# What a pickled answer consists of; one more with each change of that.
FORMAT = 1


def pickled(make: Callable[..., T], *parts: object) -> tuple[Callable[..., T], tuple[Any, ...]]:
    """For `__reduce__`: the pickle calls `make(*parts)`, once its writer is known to be understood.

    make: a function or class that can be imported. parts: what it is called with; each can be pickled.
    """
    return _made, (_WRITER, make, *parts)


class _Writer:
    """Stands first in a pickle, so that it is checked before anything that may have changed is read."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _checked, (FORMAT, __version__)


_WRITER = _Writer()


# Old and future pickles call these two by name: they keep their names and their first two arguments.
def _checked(form: int, version: str) -> _Writer:
    if form == FORMAT:
        return _WRITER
    raise InvalidRequestError(
        f"this pickle was written by qmtl {version}, in format {form}",
        why=f"qmtl {__version__} reads format {FORMAT} only",
        next_step=f"read it with qmtl {version}, or fetch the bars again; "
        "to keep bars for long, write a file: `r.frame.write_parquet(...)`",
    )


def _made(_: _Writer, make: Callable[..., T], *parts: Any) -> T:
    return make(*parts)
