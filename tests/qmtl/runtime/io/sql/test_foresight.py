"""A fetch of few bars is one trip to a server, and answers as one that asks step by step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import psycopg
import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import iso
from qmtl.runtime.conformance.acceptance import Accepted
from qmtl.runtime.io.sql.postgres.sets import Asked
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.postgres.together import Found, Statements
from qmtl.runtime.io.store.contract import ReadsIfCurrent
from qmtl.runtime.io.store.values import ChangeToken, Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.testing.store_suites.bars import OTHER, SERIES, minutes, some_bars

NAME = str(SERIES)
ROWS = 20_000
ALL = minutes(0, ROWS)
WRITE = Write("v", 1, some_bars(0, ROWS), Coverage.of(ALL))
ROUNDS = 60
REPORT = {
    "errors": 0,
    "warnings": 0,
    "findings": [],
    "span": {"start": "1970-01-01", "end": "1970-01-02"},
}


def fetched(provider: SeamlessDataProvider, span: Span) -> FetchResult:
    return provider.fetch(NAME, iso(span.start), iso(span.end), partial_ok=True)


@pytest.fixture
def store(postgres_url: str) -> Iterator[PostgresStore]:
    """A store of which all is known that a read goes by: its bars were read, and their flags are kept."""
    with PostgresStore(postgres_url) as store:
        store.commit(SERIES, WRITE)
        keep_flags(postgres_url)
        yield store


def keep_flags(url: str) -> None:
    with SeamlessDataProvider(url, vendors={}) as provider:
        fetched(provider, minutes(0, ROWS + 100))


@pytest.fixture
def provider(store: PostgresStore, postgres_url: str) -> Iterator[SeamlessDataProvider]:
    with SeamlessDataProvider(postgres_url, vendors={}, cache_bytes=0) as provider:
        fetched(provider, minutes(0, 10))
        yield provider


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Of each trip to the server, what its statements begin with."""
    taken: list[list[str]] = []
    made = Statements.made

    def noted(statements: Statements, some: Iterable[Asked]) -> list[Found]:
        given = list(some)
        taken.append([one.text[:40] for one in given])
        return made(statements, given)

    monkeypatch.setattr(Statements, "made", noted)
    return taken


def test_few_bars_are_one_trip(provider: SeamlessDataProvider, trips: list[list[str]]) -> None:
    fetched(provider, minutes(40, 50))
    trips.clear()
    for first in (0, 3_000, 8_100, ROWS - 1_000):
        result = fetched(provider, minutes(first, first + 1_000))
        assert result.frame.equals(some_bars(first, 1_000))
        assert (result.receipt.freshness, result.receipt.max_staleness) == ("asked", 0.0)
    assert list(map(len, trips)) == [1] * 4, trips


def test_a_hit_is_one_trip_and_more_than_a_few_bars_are_some(
    store: PostgresStore, postgres_url: str, trips: list[list[str]]
) -> None:
    with SeamlessDataProvider(postgres_url, vendors={}) as provider:
        fetched(provider, minutes(0, 500))
        trips.clear()
        assert fetched(provider, minutes(100, 200)).receipt.served[0].tier == "cache"
        assert list(map(len, trips)) == [1], trips
        trips.clear()
        assert fetched(provider, ALL).frame.height == ROWS
        assert 1 < len(trips) < 6


def test_async_fetches_look_as_they_read(provider: SeamlessDataProvider, trips: list[list[str]]) -> None:
    trips.clear()
    result = asyncio.run(provider.fetch_async(NAME, 0, iso(1_000 * SERIES.timeframe.step)))
    assert result.frame.height == 1_000
    assert list(map(len, trips)) == [1], trips


@pytest.mark.parametrize(("count", "statements"), [(3, 1), (70, 4)])
def test_single_rows_are_asked_for_once_it_is_known_that_there_are_any(
    provider: SeamlessDataProvider,
    store: PostgresStore,
    postgres_url: str,
    trips: list[list[str]],
    count: int,
    statements: int,
) -> None:
    """Many of them by a statement of their own, in one transaction with all else."""
    end = ROWS + count
    store.commit(SERIES, Write("v", 2, some_bars(ROWS, count), Coverage.of(minutes(ROWS, end))))
    assert store.info().hot_rows == count
    keep_flags(postgres_url)
    tail, expected = minutes(ROWS - 10, end), some_bars(ROWS - 10, 10 + count)
    for _ in range(3):
        trips.clear()
        assert fetched(provider, tail).frame.equals(expected)
    assert list(map(len, trips)) == [statements], trips


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE blob SET data = set_byte(data, 900, 255 - get_byte(data, 900)) WHERE chunk = 2",
        "DELETE FROM blob WHERE chunk = 2",
        "UPDATE chunk SET rows = 0 WHERE id = 2",
        "UPDATE answer SET said = 'nothing of the kind'",
        "UPDATE kept_flags SET reach_end = reach_start - 1",
    ],
)
def test_damage_is_met_as_by_a_read_of_many_steps(
    provider: SeamlessDataProvider, store: PostgresStore, postgres_url: str, statement: str
) -> None:
    within = minutes(9_000, 9_200)
    fetched(provider, within)
    with store._database._pool.use() as connection:
        assert connection.execute(statement).rowcount > 0
    found, raised = _outcome(lambda: fetched(provider, within))
    with SeamlessDataProvider(postgres_url, vendors={}, cache_bytes=0) as other:
        expected = _outcome(lambda: fetched(other, within))
    assert (found, raised) == expected


def _outcome(ask: Callable[[], FetchResult]) -> tuple[Any, str]:
    try:
        result = ask()
    except Exception as failure:  # noqa: BLE001 - whatever it is, both shall raise the same
        return None, f"{type(failure).__name__}: {failure}"
    return (result.receipt.fingerprint, result.coverage.counts), ""


def _declare(store: PostgresStore, number: int) -> None:
    store.declare(SERIES, SeriesFacts(anchor="clock") if number % 2 else SeriesFacts(calendar="24x7"))


CHANGES: list[Callable[[PostgresStore, int], object]] = [
    lambda store, number: store.commit(
        SERIES, Write("v", number, some_bars(number * 7 % ROWS, 40, price=50.0 + number))
    ),
    lambda store, number: store.commit(SERIES, Write("v", number, some_bars(ROWS + number, 1))),
    lambda store, number: store.commit(OTHER, Write("v", number, some_bars(number, 1))),
    lambda store, number: store.retract(SERIES, minutes(number * 11, number * 11 + 5), reason="a trial"),
    lambda store, _: store.archive_report(SERIES, REPORT),
    lambda store, number: store.accept(SERIES, [Accepted("spike", 0, number + 1, "00ff")]),
    _declare,
    lambda store, _: store.compact(),
]


@pytest.mark.parametrize("cache_bytes", [0, 1 << 26])
def test_answers_are_those_of_who_asks_for_the_first_time(
    store: PostgresStore, postgres_url: str, cache_bytes: int
) -> None:
    draw = random.Random(7)
    with SeamlessDataProvider(postgres_url, vendors={}, cache_bytes=cache_bytes) as provider:
        for number in range(ROUNDS):
            if draw.random() < 0.7:
                draw.choice(CHANGES)(store, number)
            first = draw.choice([0, 5, 70, 300, ROWS - 100])
            span = minutes(first, first + draw.choice([1, 50, 700]))
            result = fetched(provider, span)
            with SeamlessDataProvider(postgres_url, vendors={}) as other:
                expected = fetched(other, span)
            assert result.frame.equals(expected.frame)
            assert result.coverage.counts == expected.coverage.counts
            assert result.receipt.fingerprint == expected.receipt.fingerprint
            assert result.receipt.violations == expected.receipt.violations


@pytest.mark.parametrize("change", CHANGES[:-1])
def test_what_was_changed_unseen_is_not_read(
    store: PostgresStore, change: Callable[[PostgresStore, int], object]
) -> None:
    assert isinstance(store, ReadsIfCurrent)
    token, span = store.changed_since(None).token, minutes(100, 300)
    snapshot = store.read_if_current(token, SERIES, span)
    assert snapshot is not None
    assert snapshot.frame.equals(store.read(SERIES, span).frame)
    change(store, 3)
    assert store.read_if_current(token, SERIES, span) is None
    assert store.read_if_current(store.changed_since(token).token, SERIES, span) is not None


def test_what_others_declare_is_known_at_once(provider: SeamlessDataProvider, store: PostgresStore) -> None:
    saturday = minutes(16 * 1_440, 16 * 1_440 + 10)
    assert fetched(provider, saturday).coverage.counts["unknown"] == 10
    store.declare(SERIES, SeriesFacts(calendar="24/5"))
    assert fetched(provider, saturday).coverage.counts["closed"] == 10


def test_a_read_goes_on_where_the_connection_was_lost(
    provider: SeamlessDataProvider, postgres_url: str
) -> None:
    span = minutes(40, 50)
    fetched(provider, span)
    place, _, _ = postgres_url.partition("?schema=")
    with psycopg.connect(place, autocommit=True) as other:
        ended = other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'qmtl %'"
        ).fetchall()
    assert ended
    assert fetched(provider, span).frame.equals(some_bars(40, 10))


def test_a_token_of_another_version_is_not_current(store: PostgresStore) -> None:
    assert store.read_if_current(ChangeToken(-1, 0), SERIES, minutes(0, 9)) is None
