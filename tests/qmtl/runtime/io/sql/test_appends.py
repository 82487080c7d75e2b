"""A batch leaves the tables as its writes would have left them one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from types import ModuleType
from typing import Any, TypeVar

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError, QmtlError, StaleFenceError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.sql import appends
from qmtl.runtime.io.sql.copied_tables import TABLES
from qmtl.runtime.io.sql.presumed import Presumptions
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Commit, Write
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.store_model import STEP, bar_at, frames, writes
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars

T = TypeVar("T")
NAMES = [SeriesId.parse(f"ohlcv:batch:S{number}/USDT:1m") for number in range(4)]
CALENDAR = SeriesFacts(calendar="XNYS")


def tables_of(store: KeptStore) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, checksums included; not who the store is, and in which tables."""
    with store._database.reading() as connection:
        return {
            name: sorted(
                (tuple(row) for row in connection.execute(f"SELECT * FROM {name}") if row[0] != "timeline"),
                key=repr,
            )
            for name in TABLES
            if name != "identity"
        }


def tried(work: Callable[[], T]) -> tuple[T | None, QmtlError | None]:
    try:
        return work(), None
    except QmtlError as error:
        return None, error


def facts_of(error: QmtlError | None) -> tuple[object, ...]:
    return () if error is None else (type(error), error.what, error.why, error.series)


def plain(commit: Commit) -> tuple[object, ...]:
    return commit.tx, commit.as_of, commit.added, commit.unchanged, commit.replaced.rows()


class Forgetful(Presumptions):
    """Those of a store that looks before each write."""

    def follow(self, *args: Any, **options: Any) -> None:
        pass


class Pair:
    """Two stores at one standing clock: what one is given as a batch, the other gets one by one.

    The former presumes what it has left behind, and the latter nothing.
    """

    def __init__(self, batch: KeptStore, loop: KeptStore) -> None:
        self.batch, self.loop = batch, loop
        loop._presumptions = Forgetful()

    def commit(self, given: Mapping[SeriesId, Write]) -> QmtlError | None:
        """Write to both; what the batch was refused with, after which both have what came before it."""
        before = tables_of(self.batch)
        made, refused = tried(lambda: self.batch.commit_many(given))
        assert refused is None or tables_of(self.batch) == before
        one_by_one: dict[SeriesId, Commit] = {}
        other_refused = None
        for series, write in given.items():
            commit, other_refused = tried(lambda s=series, w=write: self.loop.commit(s, w))
            if commit is None:
                break
            one_by_one[series] = commit
        assert facts_of(refused) == facts_of(other_refused)
        if made is None:
            made = {series: self.batch.commit(series, given[series]) for series in one_by_one}
        assert {s: plain(commit) for s, commit in made.items()} == {
            s: plain(commit) for s, commit in one_by_one.items()
        }
        assert tables_of(self.batch) == tables_of(self.loop)
        return refused

    def open_fence(self, series: SeriesId, claim: str) -> dict[int, int]:
        tokens = [store.open_fence(series, [-1, 0, 1], claim) for store in (self.batch, self.loop)]
        assert tokens[0] == tokens[1]
        return tokens[0]

    def close(self) -> None:
        self.batch.close()
        self.loop.close()


@pytest.fixture
def new_pair(new_store: Callable[..., KeptStore]) -> Callable[[], Pair]:
    return lambda: Pair(*(new_store(clock=FakeClock(5_000)) for _ in range(2)))


@pytest.fixture
def pair(new_pair: Callable[[], Pair]) -> Pair:
    return new_pair()


@st.composite
def appended(draw: st.DrawFn) -> Write:
    """One bar at the end of a series, as a feed closes it: now and then the one before, or other values."""
    at = draw(st.integers(0, 30))
    lower = draw(st.sampled_from([1.0, 1.0, 1.5]))
    bar = some_bars(at, 1, price=lower)
    cells = Coverage.of(Span(at * STEP, (at + 1) * STEP))
    return Write("feed", 40 + at, bar, cells, delivered_at={at * STEP: at * STEP + STEP + 3})


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[SeriesId, Write, str, list[int]]]:
    parts = []
    for series in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)):
        write = draw(st.one_of(appended(), appended(), writes()))
        if draw(st.integers(0, 7)) == 0:
            write = replace(write, quarantine=draw(frames()).with_columns(rule=pl.lit("a_rule")))
        declared = draw(st.sampled_from([NOTHING_DECLARED] * 4 + [CALENDAR, SeriesFacts(calendar="24x7")]))
        fence = draw(st.sampled_from(["none"] * 4 + ["newest", "stale"]))
        parts.append((series, replace(write, declared=declared), fence, [-1, 0, 1]))
    return parts


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
@given(every=st.lists(batches(), min_size=2, max_size=10))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_writes_what_the_loop_writes(
    new_pair: Callable[[], Pair],
    every: list[list[tuple[SeriesId, Write, str, list[int]]]],
) -> None:
    stores = new_pair()
    try:
        for number, parts in enumerate(every):
            given_now = {}
            for series, write, fence, shards in parts:
                if fence != "none":
                    tokens = stores.open_fence(series, f"{fence} {number}")
                    if fence == "stale":
                        stores.open_fence(series, f"another {number}")
                    write = replace(write, fences={shard: tokens[shard] for shard in shards})
                given_now[series] = write
            stores.commit(given_now)
    finally:
        stores.close()


def one_bar(at: int, price: float = 1.0, **more: Any) -> Write:
    return Write("feed", 40 + at, some_bars(at, 1, price=price), Coverage.of(minutes(at, at + 1)), **more)


def appended_of(store: KeptStore, given: Mapping[SeriesId, Write]) -> set[SeriesId]:
    """Which of the writes go together."""
    rows = {series: store._checked(series, write, None) for series, write in given.items()}
    with store._database.reading() as connection:
        small = appends.small_ones(given, rows)
        return set(appends.appends(connection, small))


def test_what_meets_nothing_goes_together_and_the_rest_its_own_way(pair: Pair) -> None:
    first, second, third, fourth = NAMES
    pair.commit({name: one_bar(0) for name in NAMES[:3]})
    given = {first: one_bar(1), fourth: one_bar(0), second: one_bar(0, price=2.0), third: one_bar(1)}
    assert appended_of(pair.batch, given) == {first, third}
    pair.commit(given)
    assert pair.batch.newest().tx == 7
    assert appended_of(pair.batch, {name: one_bar(2) for name in NAMES}) == set(NAMES)
    far_behind = {name: one_bar(9, delivered_at={9 * STEP: 10 * STEP}) for name in NAMES}
    assert appended_of(pair.batch, far_behind) == set(NAMES)
    pair.commit(far_behind)


def test_a_stale_fence_in_the_midst_keeps_nothing_of_the_batch(pair: Pair) -> None:
    pair.commit({name: one_bar(0) for name in NAMES})
    old = pair.open_fence(NAMES[2], "first")
    new = pair.open_fence(NAMES[2], "second")
    given = {name: one_bar(1) for name in NAMES}
    assert isinstance(pair.commit(given | {NAMES[2]: one_bar(1, fences={0: old[0]})}), StaleFenceError)
    fenced = given | {NAMES[2]: one_bar(1, fences={0: new[0]})}
    assert NAMES[2] in appended_of(pair.batch, {NAMES[2]: one_bar(5, fences={0: new[0]})})
    assert pair.commit(fenced) is None


def test_declared_facts_that_are_known_go_together_and_contradictions_are_refused(pair: Pair) -> None:
    pair.commit({name: one_bar(0, declared=CALENDAR) for name in NAMES})
    given = {name: one_bar(1, declared=CALENDAR) for name in NAMES}
    assert appended_of(pair.batch, given) == set(NAMES)
    other = one_bar(1, declared=SeriesFacts(calendar="24x7"))
    assert isinstance(pair.commit(given | {NAMES[3]: other}), InvalidRequestError)
    assert isinstance(pair.commit(given), InvalidRequestError | None)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE hot SET data = ? WHERE ts = 120000000000",
        "UPDATE series SET hot = hot + 5 WHERE id = 2",
        "UPDATE answer SET checked_at = checked_at + 1 WHERE series = 2",
        "UPDATE facts SET facts = '{}' WHERE series = 2",
        "UPDATE hot SET ts = ts + 60000000000 * 7 WHERE series = 2 AND ts = 120000000000",
    ],
)
@pytest.mark.parametrize("at", [1, 2, 3, 4, 9])
def test_damage_is_met_as_the_loop_meets_it(
    new_place: Callable[[], str], script: ModuleType, damage: str, at: int
) -> None:
    places = new_place(), new_place()
    with closing(Pair(*(script.opened(one, clock=FakeClock(5_000)) for one in places))) as stores:
        for place in range(3):
            stores.commit({name: one_bar(place, declared=CALENDAR) for name in NAMES})
        for store in (stores.batch, stores.loop):
            with store._database.writing() as connection:
                connection.execute(damage, (bytes(56),) if "?" in damage else ())
                connection.execute("COMMIT")
    with closing(Pair(*(script.opened(one, clock=FakeClock(5_000)) for one in places))) as again:
        # Damage is written down before a batch, and before the write that meets it: numbers differ.
        for place in (at, at + 1):
            given = {name: one_bar(place, price=3.0, declared=CALENDAR) for name in NAMES}
            _, refused = tried(lambda w=given: again.batch.commit_many(w))
            each = [tried(lambda s=s, w=w: again.loop.commit(s, w)) for s, w in given.items()]
            assert facts_of(refused) == next((facts_of(error) for _, error in each if error is not None), ())
            if refused is not None:
                for series, write in given.items():
                    tried(lambda s=series, w=write: again.batch.commit(s, w))
        for name in NAMES:
            one, other = (
                tried(lambda x=x, n=name: x.read(n, minutes(0, 20))) for x in (again.batch, again.loop)
            )
            assert facts_of(one[1]) == facts_of(other[1])
            if one[0] is not None and other[0] is not None:
                assert one[0].frame.equals(other[0].frame)
                assert list(one[0].answers) == list(other[0].answers)
                assert one[0].damaged == other[0].damaged


@pytest.mark.parametrize(
    "make",
    [
        lambda frame: frame.with_columns(volume=pl.lit(None)),
        lambda frame: frame.with_columns(volume=pl.lit(None, pl.Float32)),
        lambda frame: frame.with_columns(close=pl.lit(float("nan"))),
        lambda frame: frame.with_columns(close=pl.lit(None, pl.Float64)),
        lambda frame: frame.select(reversed(frame.columns)),
        lambda frame: pl.concat([frame, frame]),
        lambda frame: frame.with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC"))),
    ],
)
@pytest.mark.parametrize("at", [0, 2, 3])
def test_rows_that_are_no_bars_are_refused_with_their_series(pair: Pair, make: Any, at: int) -> None:
    given = {name: one_bar(0) for name in NAMES}
    given[NAMES[at]] = replace(given[NAMES[at]], frame=make(given[NAMES[at]].frame))
    refused = pair.commit(given)
    assert isinstance(refused, InvalidRequestError)
    assert refused.series == NAMES[at].text
    assert pair.batch.newest().tx == at


def test_a_missing_volume_is_no_reason_to_refuse(pair: Pair) -> None:
    given = {name: one_bar(0) for name in NAMES}
    without = given[NAMES[1]].frame.with_columns(volume=pl.lit(None, pl.Float64))
    given[NAMES[1]] = replace(given[NAMES[1]], frame=without)
    assert pair.commit(given) is None
    assert pair.batch.read(NAMES[1], minutes(0, 1)).frame["volume"].to_list() == [None]


def test_times_before_1970_and_empty_writes(pair: Pair) -> None:
    early = Span(bar_at(0), bar_at(3))
    given = {
        NAMES[0]: Write("feed", 5, answered=Coverage.of(early)),
        NAMES[1]: Write("feed", 5),
        NAMES[2]: Write("feed", 5, absent=Coverage.of(early), absent_until=9),
    }
    pair.commit(given)
    pair.commit(given)
    pair.commit({name: Write("feed", 6, answered=Coverage.of(early)) for name in NAMES})
