"""Several series at once are the same as one after another, as tests that an implementation inherits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.store.contract import ReadAbandonedError, Store
from qmtl.runtime.io.store.values import Commit, Snapshot, Write
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, STEP, minutes, some_bars, write
from qmtl.runtime.testing.store_suites.flags import RULES, some_judged

ALONE = SeriesId.parse("ohlcv:suite:SOL/USDT:1m")


def some_writes(count: int) -> list[Write]:
    """Writes of `count` bars that use every field; the second one changes what the first brought."""
    impossible = some_bars(count - 4, 2).with_columns(rule=pl.lit("high_is_highest"))
    return [
        write(
            some_bars(0, count),
            answered=Coverage.of(minutes(0, count)),
            absent=Coverage.of(minutes(count, count + 5)),
            absent_until=99,
            declared=SeriesFacts(calendar="24x7", has_volume=True),
            delivered_at={3 * STEP: 3 * STEP + 7, (count - 1) * STEP: count * STEP + 9},
        ),
        write(
            some_bars(count - 20, 10, price=7.0),
            source="another",
            checked_at=12,
            answered=Coverage.of(minutes(count - 20, count - 10)),
            retracted=Coverage.of(minutes(count - 4, count)),
            refused=Coverage.of(minutes(count - 4, count - 2)),
            refused_until=70,
            quarantine=impossible,
        ),
        write(some_bars(count + 5, 3), answered=Coverage.of(minutes(count + 5, count + 9)), checked_at=15),
    ]


def all_of(store: Store, series: SeriesId) -> dict[str, Any]:
    """What can be read of a series, but for the numbers and times of its commits."""
    span = minutes(-10, 10_000)
    found = store.read(series, span)
    return {
        "rows": found.frame.to_dicts(),
        "answers": list(found.answers),
        "quarantined": store.quarantined(series, span).to_dicts(),
        "deliveries": store.deliveries(series, span).to_dicts(),
        "facts": store.facts(series),
        "commits": [(one.kind, one.span, one.writer, one.reason) for one in store.commits(series)],
    }


def report_of(commit: Commit) -> tuple[int, int, list[dict[str, Any]]]:
    """What a commit says of itself, but for its number and time."""
    return commit.added, commit.unchanged, commit.replaced.to_dicts()


def plain(snapshot: Snapshot) -> dict[str, Any]:
    """All fields of a snapshot, to be compared."""
    given = {one.name: getattr(snapshot, one.name) for one in fields(snapshot)}
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, pl.DataFrame):
        return value.to_dicts()
    return list(value) if isinstance(value, Sequence) else value


class SeveralSeriesSuite:
    """Inherit it, and give a fixture `store` that is an empty, writable store."""

    @pytest.mark.parametrize("count", [40, 2_000])
    def test_writes_of_several_series_are_as_many_commits(self, store: Store, count: int) -> None:
        tokens = {series: store.open_fence(series, [0], "a claim") for series in (SERIES, OTHER, ALONE)}
        for given in some_writes(count):
            mine = {series: replace(given, fences=fences) for series, fences in tokens.items()}
            alone = store.commit(ALONE, mine.pop(ALONE))
            together = store.commit_many(mine)
            assert [report_of(one) for one in together.values()] == [report_of(alone)] * 2
        assert all_of(store, SERIES) == all_of(store, OTHER) == all_of(store, ALONE)

    @pytest.mark.parametrize("context", [0, 3])
    @pytest.mark.parametrize("span", [minutes(20, 30), minutes(5, 200), minutes(500, 501), minutes(7, 7)])
    def test_several_series_are_read_like_each_of_them(self, store: Store, span: Span, context: int) -> None:
        point = store.commit(SERIES, write(some_bars(0, 100), answered=Coverage.of(minutes(0, 100))))
        for series, first in ((OTHER, 10), (ALONE, 300)):
            answered = Coverage.of(minutes(first, first + 60))
            store.commit(series, write(some_bars(first, 50), answered=answered))
        store.keep_flags([some_judged(store)])
        for as_of in (None, point.as_of):
            for rules in ({}, {SERIES: RULES}):
                found = store.read_many(
                    [SERIES, OTHER, ALONE], span, as_of=as_of, context=context, flags_by=rules
                )
                assert list(found) == [SERIES, OTHER, ALONE]
                for series, one in found.items():
                    alone = store.read(series, span, as_of=as_of, context=context, flags_by=rules.get(series))
                    assert plain(one) == plain(alone)

    def test_a_read_of_several_series_that_is_cancelled_is_abandoned(self, store: Store) -> None:
        given = write(some_bars(0, 20_000))
        store.commit_many({SERIES: given, OTHER: given})
        asked = iter([False, True])
        with pytest.raises(ReadAbandonedError):
            store.read_many([SERIES, OTHER], minutes(0, 20_000), cancelled=lambda: next(asked, True))
        found = store.read_many([SERIES, OTHER], minutes(0, 20_000), cancelled=lambda: False)
        assert [one.frame.height for one in found.values()] == [20_000, 20_000]
