"""However much a store holds, no statement of a verification brings all of it into memory at once."""

from __future__ import annotations

from typing import Any

import pytest

from qmtl.runtime.io.sql import verify
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars

ROWS = 900


def test_single_rows_are_verified_a_few_at_a_time(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with PostgresStore(postgres_url) as store:
        for first in range(0, ROWS, 50):
            store.commit(SERIES, Write("v", 1, some_bars(first, 50)))
        monkeypatch.setattr(verify, "_FETCH", 100)
        counts: list[int] = []
        execute = PostgresConnection.execute

        def counted(connection: PostgresConnection, sql: str, values: Any = ()) -> Any:
            found = execute(connection, sql, values)
            counts.extend([found.rowcount] * ("pg_" not in sql))  # what is asked about the layout is bounded
            return found

        monkeypatch.setattr(PostgresConnection, "execute", counted)
        found = store.verify()
    assert (found.hot_rows, found.is_sound) == (ROWS, True)
    assert counts.count(100) >= ROWS // 100
    assert max(counts) == 100
