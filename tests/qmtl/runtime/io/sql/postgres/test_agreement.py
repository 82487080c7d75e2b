"""A store on PostgreSQL answers as one in memory, whatever is done to both."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.sql.postgres.store import PostgresStore
from tests.qmtl.runtime.io.test_stores_agree import Stores, Ticking

pytestmark = pytest.mark.usefixtures("small_chunks", "schemas_of_the_machine")


@pytest.fixture
def schemas_of_the_machine(new_schema: Callable[[], str]) -> None:
    PostgresStores.new_schema = new_schema


class PostgresStores(Stores):
    new_schema: ClassVar[Callable[[], str]]

    def opened(self) -> PostgresStore:
        return PostgresStore(PostgresStores.new_schema(), clock=Ticking())  # type: ignore[arg-type]  # needs no more


PostgresStores.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestStoresAgree = PostgresStores.TestCase
