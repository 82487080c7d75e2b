"""Anything that is done to a store on PostgreSQL leaves it as a plain model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.sql.postgres.store import PostgresStore
from qmtl.runtime.testing.store_model import StoreMachine

pytestmark = pytest.mark.usefixtures("small_chunks", "schemas_of_the_machine")


@pytest.fixture
def schemas_of_the_machine(new_schema: Callable[[], str]) -> None:
    PostgresMachine.new_schema = new_schema


class PostgresMachine(StoreMachine):
    new_schema: ClassVar[Callable[[], str]]

    def open(self) -> PostgresStore:
        self.url = PostgresMachine.new_schema()
        return PostgresStore(self.url)

    def reopen(self) -> PostgresStore:
        self.store.close()
        return PostgresStore(self.url)

    def tidy(self) -> None:
        self.store.compact()
        assert self.store.verify().is_sound


PostgresMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestPostgresStore = PostgresMachine.TestCase
