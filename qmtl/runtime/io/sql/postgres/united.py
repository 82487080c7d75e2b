"""Several questions as one statement: a server needs less time for it, and answers all at one commit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from qmtl.runtime.io.sql.dialect import Question, United
from qmtl.runtime.io.sql.postgres.placeholders import translated
from qmtl.runtime.io.sql.postgres.sets import Asked

# What columns may hold, with a value of it as SQL, and its type here. Those that a table keeps as integers
# become a bigint: with columns of one type all along, the server makes the parts without a step between.
_KINDS = {"n": ("0::bigint", int), "t": ("''::text", str), "b": ("''::bytea", bytes), "?": ("true", bool)}
_INTEGER = "i"

_VALUE = re.compile(r"\$(\d+)")

_Pick = Callable[[tuple[Any, ...]], tuple[Any, ...]]


class _Form(NamedTuple):
    """A statement, the types of its columns, and what takes from a row the columns of each question."""

    text: str
    types: tuple[type, ...]
    picks: list[_Pick]


def statement_of(united: United) -> Asked:
    """The statement. The rows come question by question, those of each in the order that it says.

    As long as no worker helps the server: see the settings of a session.
    """
    given: list[Any] = []
    for one in united.questions:
        given += translated(one.sql).ordered(one.values)
    return Asked(_form_of(united).text, given)


def told(united: United, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Question, list[Any]]]:
    """Each question with the rows that it has found.

    Raises `TypeError` where a column of a table has another type than it should: all that share its place
    have it then.
    """
    _, types, picks = _form_of(united)
    sample, *others = rows
    if tuple(map(type, sample)) != types:
        raise TypeError(f"the columns of an answer have the types {tuple(map(type, sample))}, not {types}")
    found: list[list[Any]] = [[] for _ in picks]
    for row in others:
        number = row[0]
        found[number].append(picks[number](row))
    for one, its in zip(united.questions, found, strict=True):
        if isinstance(one, Question):
            yield one, its
        else:
            yield from one.told(its)


def _form_of(united: United) -> _Form:
    return _form(tuple(one.sql for one in united.questions), united.kinds)


@lru_cache(maxsize=256)
def _form(questions: tuple[str, ...], kinds: tuple[str, ...]) -> _Form:
    """The first row has a sample of each column. A column serves one of each question, of the same kind."""
    shared = [one.replace(_INTEGER, "n") for one in kinds]
    columns = "".join(kind * max(one.count(kind) for one in shared) for kind in _KINDS)
    selects = [f"SELECT -1, {', '.join(_KINDS[kind][0] for kind in columns)}"]
    picks = []
    count = 0
    for number, (sql, its_kinds, its_shared) in enumerate(zip(questions, kinds, shared, strict=True)):
        at = [columns.index(kind) + its_shared[:place].count(kind) for place, kind in enumerate(its_shared)]
        taken = ["NULL"] * len(columns)
        for place, (column, kind) in enumerate(zip(at, its_kinds, strict=True)):
            taken[column] = f"c{place}::bigint" if kind == _INTEGER else f"c{place}"
        text = translated(sql).text
        names = ", ".join(f"c{place}" for place in range(len(at)))
        selects.append(
            f"SELECT {number}, {', '.join(taken)} FROM ({_shifted(text, count)}) AS question ({names})"
        )
        count += max(map(int, _VALUE.findall(text)), default=0)
        picks.append(_pick([column + 1 for column in at]))
    types = (int, *(_KINDS[kind][1] for kind in columns))
    return _Form(" UNION ALL ".join(selects), types, picks)


def _shifted(text: str, by: int) -> str:
    """A statement whose values come behind so many others."""
    return _VALUE.sub(lambda found: f"${int(found[1]) + by}", text)


def _pick(places: Sequence[int]) -> _Pick:
    if len(places) > 1:
        return itemgetter(*places)
    (only,) = places
    return lambda row: (row[only],)
