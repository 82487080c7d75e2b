"""The base of all errors, and the version that pickles of errors and answers begin with.

Both stand in one module because each needs the other: an error pickles with the version of its writer, and a
pickle of another format is refused with an error.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

from qmtl.foundation.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qmtl.foundation.instants import Span

Made = TypeVar("Made")

# What a pickled answer consists of; one more with each change of that.
FORMAT = 1


class QmtlError(Exception):
    """Base of all errors of this package.

    `what` is one sentence fragment; `series`, `span`, `why` and `next_step` complete it. `others` are errors
    that apply as well, in the order in which they would have been raised: this one is the first of them.
    `str()` gives the whole message, ready for a person. Options and verbs of the Python API stand in
    backquotes, as `partial_ok=True` and `backfill(...)`, so that other faces can put it in their own words.

    Two errors are equal if they are of one kind with the same facts, so that one equals its pickled or deep
    copy. Cause and traceback are not compared; they do not travel.
    """

    def __init__(
        self,
        what: str,
        *,
        series: object = None,
        span: Span | None = None,
        why: str | None = None,
        next_step: str | None = None,
        others: Iterable[QmtlError] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.series = None if series is None else str(series)
        self.span = span
        self.why = why
        self.next_step = next_step
        self.others = tuple(others)

    def _repr_html_(self) -> str:
        # In a notebook, an error is kept in `errors` of an answer, and shown like other values.
        from qmtl.foundation.html import facts_table

        facts = [("error", type(self).__name__), ("what", self.what), ("series", self.series or "")]
        facts += [("range", "" if self.span is None else str(self.span)), ("why", self.why or "")]
        facts += [("next", self.next_step or ""), *(("also", other.what) for other in self.others)]
        return facts_table((name, text) for name, text in facts if text)

    def __str__(self) -> str:
        text = self.what
        if self.series is not None:
            text += f"\n  series: {self.series}"
        if self.span is not None:
            text += f"\n  range:  {self.span}"
        if self.why is not None:
            text += f"\n  why:    {self.why}"
        if self.next_step is not None:
            text += f"\n  next:   {self.next_step}"
        for other in self.others:
            whose = "" if other.series in (None, self.series) else f"{other.series}: "
            text += f"\n  also:   {whose}{other.what}"
        return text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QmtlError):
            return NotImplemented
        return type(self) is type(other) and self.args == other.args and vars(self) == vars(other)

    def __hash__(self) -> int:
        # Only of what stays: facts such as the path of a store are added where they are known.
        return hash((type(self), self.args))

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders in test runners and pools; the default only keeps `args`.
        return made, (WRITER, _restored, type(self), self.args, self.__dict__)


def _restored(kind: type[QmtlError], args: tuple[Any, ...], facts: dict[str, Any]) -> QmtlError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


def first_of(errors: Iterable[QmtlError]) -> QmtlError:
    """The first of these errors (at least one), which lists the rest of them as its `others`.

    It is a copy where there are others: the same error may have been raised to somebody else, too.
    """
    first, *rest = errors
    if not rest:
        return first
    whole = copy(first)
    whole.others = (*first.others, *rest)
    whole.__cause__ = first.__cause__
    return whole


class InvalidRequestError(QmtlError, ValueError):
    """A request, a file or a value that cannot be used as it is.

    file: of several files that were read together, the one that cannot be used.
    """

    file: str | None = None


class Writer:
    """Stands first in a pickle, so that it is checked before anything that may have changed is read."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return checked, (FORMAT, __version__)


WRITER = Writer()


# Old and future pickles call these two by name: they keep their names and their first two arguments.
def checked(form: int, version: str) -> Writer:
    """The writer of a pickle. Raises `InvalidRequestError` for one of another format."""
    if form == FORMAT:
        return WRITER
    raise InvalidRequestError(
        f"this pickle was written by qmtl {version}, in format {form}",
        why=f"qmtl {__version__} reads format {FORMAT} only",
        next_step=f"read it with qmtl {version}, or fetch the bars again; "
        "to keep bars for long, write a file: `r.frame.write_parquet(...)`",
    )


def made(_: Writer, make: Callable[..., Made], *parts: Any) -> Made:
    """`make(*parts)`, once the writer of the pickle is known to be understood."""
    return make(*parts)
