"""Anything that is done to a store on PostgreSQL leaves it as a plain model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings

from qmtl.runtime.io.sql.postgres.store import PostgresStore
from tests.qmtl.runtime.io.sql.addressed_machine import AddressedMachine

pytestmark = pytest.mark.usefixtures("small_chunks", "schemas_of_the_machine")


@pytest.fixture
def schemas_of_the_machine(new_schema: Callable[[], str]) -> None:
    PostgresMachine.new_schema = new_schema


class PostgresMachine(AddressedMachine):
    new_schema: ClassVar[Callable[[], str]]

    def empty_url(self) -> str:
        return PostgresMachine.new_schema()

    def opened(self, url: str) -> PostgresStore:
        return PostgresStore(url)


PostgresMachine.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestPostgresStore = PostgresMachine.TestCase
