"""The store on PostgreSQL keeps every promise of a store."""

from collections.abc import Iterator

import pytest

from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.testing.store_suite import StoreSuite


class TestPostgresStore(StoreSuite):
    knows_at_once = False

    @pytest.fixture
    def store(self, postgres_url: str) -> Iterator[PostgresStore]:
        with PostgresStore(postgres_url) as store:
            yield store
