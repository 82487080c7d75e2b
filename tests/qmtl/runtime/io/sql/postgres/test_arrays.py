"""An array that is written here is the one that the server reads, and no number loses a part of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.arrays import bigints, byteas
from qmtl.runtime.io.sql.postgres.connection import PostgresConnection
from qmtl.runtime.io.sql.postgres.opening import opened

numbers = st.none() | st.integers(-(2**63), 2**63 - 1)


@pytest.fixture
def connection(postgres_url: str) -> Iterator[PostgresConnection]:
    with closing(opened(StoreAddress.parse(postgres_url))) as one:
        yield one


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(numbers, min_size=1, max_size=9), st.lists(st.none() | st.binary(), min_size=1, max_size=9))
def test_the_server_reads_what_was_written(
    connection: PostgresConnection, some: list[int | None], pieces: list[bytes | None]
) -> None:
    found = connection.execute("SELECT ?::bigint[], ?::bytea[]", (bigints(some), byteas(pieces)))
    assert found.fetchone() == (some, pieces)


@pytest.mark.parametrize("some", [[1, 1.5], [None, 1.5]])
def test_a_number_with_a_rest_is_refused(some: list[Any]) -> None:
    with pytest.raises(TypeError):
        bigints(some)


@pytest.mark.parametrize("some", [[2**63], [None, 2**63]])
def test_a_number_that_is_too_large_is_refused(some: list[int | None]) -> None:
    with pytest.raises(OverflowError):
        bigints(some)
