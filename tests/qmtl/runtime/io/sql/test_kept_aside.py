"""Impossible rows are kept once each, whatever comes in which order, and thousands of them cost no square."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.frames import BAR_SCHEMA, TS, VALUES
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import SERIES, minutes, some_bars

odd = st.sampled_from([None, float("nan"), float("inf"), -1.0, 0.0, 7.5])
times = st.one_of(st.none(), st.integers(0, 4).map(lambda minute: minute * 60 * 10**9))
rows = st.lists(st.tuples(times, odd, odd, st.sampled_from(["low", "high"])), min_size=1, max_size=12)
writes = st.lists(st.tuples(st.sampled_from(["mine", "theirs"]), rows), min_size=1, max_size=4)


def frame(of: list[tuple[int | None, float | None, float | None, str]]) -> pl.DataFrame:
    columns = {"open": [row[1] for row in of], "low": [row[2] for row in of]}
    return pl.DataFrame(
        {
            "ts": pl.Series([row[0] for row in of], dtype=pl.Int64).cast(TS),
            **{name: pl.Series(columns.get(name, [1.0] * len(of)), dtype=pl.Float64) for name in VALUES},
        },
        schema=BAR_SCHEMA,
    ).with_columns(rule=pl.Series([row[3] for row in of]))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=writes)
def test_each_is_kept_once(
    new_store: Callable[..., KeptStore],
    writes: list[tuple[str, list[tuple[int | None, float | None, float | None, str]]]],
) -> None:
    store, memory = new_store(), MemoryStore()
    for number, (source, of) in enumerate(writes):
        write = Write(source, number, quarantine=frame(of))
        is_new = [one.commit(SERIES, write).tx for one in (store, memory)]
        assert is_new[0] == is_new[1]
    found, wanted = (one.quarantined(SERIES, minutes(0, 5)) for one in (store, memory))
    assert sorted(map(str, found.rows())) == sorted(map(str, wanted.rows()))
    assert [of.quarantined for of in store.list_series()] == [of.quarantined for of in memory.list_series()]


@pytest.mark.service
def test_thousands_are_not_compared_with_each_other(postgres_url: str) -> None:
    """The lock of all writers is held meanwhile."""
    impossible = some_bars(0, 2_000).with_columns(rule=pl.lit("high_is_highest"))
    for checked_at in (1, 2):
        with closing(PostgresStore(postgres_url)) as store:
            store.commit(SERIES, Write("v", checked_at, quarantine=impossible))
            assert store.quarantined(SERIES, minutes(0, 2_000)).height == 2_000
    schema = postgres_url.rpartition("schema=")[2]
    with psycopg.connect(postgres_url.partition("?")[0]) as connection:
        (looked_at,) = connection.execute(
            "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_all_tables"
            " WHERE schemaname = %s AND relname = 'quarantine'",
            (schema,),
        ).fetchone() or (None,)
    assert looked_at is not None
    assert 2_000 <= looked_at <= 10 * 2_000
