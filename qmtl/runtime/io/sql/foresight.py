"""What a read of one series will ask a server, so that all of it is asked in one trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.sql import rewrite_plan
from qmtl.runtime.io.sql.commits import LOST, SeriesEntry, entry_question
from qmtl.runtime.io.sql.dialect import LIVE, Dialect, Expected, Foreseen, Question, Telling, United
from qmtl.runtime.io.sql.kept_flags import Wanted
from qmtl.runtime.io.sql.kept_flags import question as flags_question
from qmtl.runtime.io.sql.view import BYTES, SINGLES_BETWEEN, chunks_between, question

# What the columns of each question hold, see `United`.
_VERSION, _LOST, _NEWEST, _ENTRY = "n", "n", "nn?", "nn?"
_SINGLES, _FLAGS, _RECORDS, _CHUNKS, _WITH_BYTES = "nnb", "nnnnb?", "nnttnn?", "nnniib?", "nnniib?b"


# Up to so many single rows come by one statement with all else. Each row has the columns of all questions,
# which of a thousand takes longer than the statements that are spared.
_FEW = 64


class Foresight(NamedTuple):
    """What a read will probably ask. is_all: and nothing else."""

    questions: list[Foreseen]
    is_all: bool


def foreseen(
    dialect: Dialect,
    series: SeriesId,
    known: tuple[SeriesEntry, bool] | None,
    span: Span,
    context: int,
    flags_by: bytes | None,
    expected: Expected | None,
) -> Foresight:
    """What a read of one series, as it is now, will ask.

    known: what its last read has found, its entry and whether its flags were kept. Should the series have
    another row id by now, then nobody asks these questions.
    """
    asked: list[tuple[Question | Telling, str]] = [] if expected is None else [(expected.question, _VERSION)]
    asked += [
        (Question(LOST), _LOST),
        (Question(dialect.newest), _NEWEST),
        (entry_question(dialect, series), _ENTRY),
    ]
    if known is None:
        return Foresight([_united(asked)], is_all=False)
    entry, had_flags = known
    number = entry.number
    within = {"low": span.start, "high": span.end - 1}
    chunks = question(chunks_between(dialect), number, LIVE, **within)
    # Of a longer range the bytes of some are read while those of others are decoded.
    is_short = span.length <= rewrite_plan.FULL * series.timeframe.step
    apart: list[Foreseen] = []
    if entry.hot:
        singles = question(SINGLES_BETWEEN, number, LIVE, **within)
        if entry.hot > _FEW:
            apart.append(singles)
        else:
            asked.append((singles, _SINGLES))
    # With flags that were kept no context is read; without them, all of it where there is no hole.
    reaches = {context * series.timeframe.step}
    if flags_by is not None and not span.is_empty:
        asked.append((flags_question(dialect, Wanted(series, number, flags_by), span), _FLAGS))
        reaches = {0} if had_flags else {0, *reaches}
    for reach in reaches:
        ends = {"start": max(span.start - reach, EARLIEST), "stop": min(span.end + reach, LATEST)}
        asked.append((question(dialect.records, number, LIVE, **ends), _RECORDS))
    # Last, for who waits for an answer is woken whenever there is a little of it.
    asked.append((_with_bytes(chunks), _WITH_BYTES) if is_short else (chunks, _CHUNKS))
    return Foresight([*apart, _united(asked)], is_all=is_short and reaches == {0})


def _united(asked: Sequence[tuple[Question | Telling, str]]) -> United:
    return United([one for one, _ in asked], tuple(kinds for _, kinds in asked))


def _with_bytes(chunks: Question) -> Telling:
    """What tells the chunks that a question finds, and the bytes of each."""
    joined = f"({chunks.sql}) AS chunk LEFT JOIN blob ON blob.chunk = id"
    sql = f"SELECT chunk.*, data FROM {joined} ORDER BY last_ts"
    return Telling(sql, chunks.values, partial(_told_of_chunks, chunks))


def _told_of_chunks(chunks: Question, found: Sequence[Any]) -> Iterator[tuple[Question, list[Any]]]:
    yield chunks, [row[:-1] for row in found]
    for number, *_, data in found:
        yield Question(BYTES, (number,)), [] if data is None else [(data,)]
