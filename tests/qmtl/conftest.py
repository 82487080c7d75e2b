"""A provider on a clock that stands still until it is moved."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from tests.qmtl.etcd import OLDEST, EtcdCluster, etcd_program
from tests.qmtl.postgres import PostgresServer, newest_programs
from tests.qmtl.questdb import QuestDBServer, questdb_jar
from tests.qmtl.s3 import Moto, S3Proxy, S3Server, moto_program, s3proxy_jar


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock("2024-02-01T00:00:30Z")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Modules that say `BOTH_ENGINES = True` are of stores as such: each of their tests runs on either."""
    if "engine" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_ENGINES", False):
        server = pytest.param("server", marks=pytest.mark.service)
        metafunc.parametrize("engine", ["folder", server], indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What the stores of `place_named` are: a "folder" each, or schemas of a "server"."""
    return getattr(request, "param", "folder")


@pytest.fixture
def place_named(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path | str]:
    """Where the store of a name is: the same for each call within a test."""
    if engine == "folder":
        return tmp_path.joinpath
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # where its claims lie
    new_schema: Callable[[], str] = request.getfixturevalue("new_schema")
    return cache(lambda name: new_schema())


@pytest.fixture
def open_store(place_named: Callable[[str], Path | str]) -> Iterator[Callable[..., KeptStore]]:
    """`open_store(name, **options)`: the store of a name, which is closed after the test."""
    with ExitStack() as opened:

        def open_at(name: str = "bars", **options: Any) -> KeptStore:
            place = place_named(name)
            if isinstance(place, Path):
                return opened.enter_context(EmbeddedStore(place, **options))
            from qmtl.runtime.io.sql.postgres.store import PostgresStore  # where psycopg is installed

            return opened.enter_context(PostgresStore(place, **options))

        yield open_at


@pytest.fixture
def make(
    place_named: Callable[[str], Path | str], clock: FakeClock, registry: CollectorRegistry
) -> Iterator[Callable[..., SeamlessDataProvider]]:
    made: list[SeamlessDataProvider] = []

    def build(vendor: Any = None, store: Any = "bars", **options: Any) -> SeamlessDataProvider:
        options = {"clock": clock, "metrics_registry": registry, **options}
        where = place_named(store) if isinstance(store, str) else store
        provider = SeamlessDataProvider(where, vendors={} if vendor is None else vendor, **options)
        made.append(provider)
        return provider

    yield build
    for provider in made:
        provider.close()


def _lack(service: str, why: str) -> NoReturn:
    """Skip what needs a service that is not there, or fail where it has to be."""
    if os.environ.get("QMTL_TEST_REQUIRE", "") in ("all", service):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of a process. Where no PostgreSQL is installed, they are skipped."""
    programs = newest_programs()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        lacking = "PostgreSQL's programs (/usr/lib/postgresql)" if programs is None else "psycopg"
        _lack("postgres", f"there is no {lacking}; apt-get install postgresql, pip install 'qmtl[postgres]'")
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def new_schema(postgres_server: PostgresServer) -> Iterator[Callable[[], str]]:
    """Addresses of schemas that do not exist yet; they are dropped after the test."""
    import psycopg  # where it is installed

    made: list[str] = []

    def name() -> str:
        made.append(f"test_{uuid4().hex}")
        return postgres_server.url(made[-1])

    yield name
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        for schema in made:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


@pytest.fixture
def postgres_url(new_schema: Callable[[], str]) -> str:
    """The address of a store that does not exist yet."""
    return new_schema()


@pytest.fixture(scope="session")
def questdb_server() -> Iterator[QuestDBServer]:
    """One server for all tests of a process. Where it was not fetched, they are skipped."""
    jar = questdb_jar()
    if jar is None or importlib.util.find_spec("questdb") is None:
        lacking = "QuestDB (scripts/get_questdb.sh, and Java 17)" if jar is None else "client questdb"
        _lack("questdb", f"there is no {lacking}")
    server = QuestDBServer(jar)
    yield server
    server.remove()


@pytest.fixture(scope="session", params=["s3proxy", "moto"])
def s3_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """Each of two servers, for all tests of a process. Where they were not fetched, they are skipped."""
    jar, program = s3proxy_jar(), moto_program()
    if jar is None or program is None or importlib.util.find_spec("obstore") is None:
        _lack("s3", "there are no S3 servers (scripts/get_s3.sh, and Java 17), or no obstore")
    server: S3Server = S3Proxy(jar) if request.param == "s3proxy" else Moto(program)
    yield server
    server.remove()


@pytest.fixture
def questdb_url(questdb_server: QuestDBServer, tmp_path: Path) -> str:
    """The address of a store that does not exist yet."""
    return questdb_server.url(tmp_path / "catalog", f"test_{uuid4().hex}")


def _etcd(version: str | None = None) -> Path:
    """The program. Where it is not there, the tests are skipped."""
    program = etcd_program() if version is None else etcd_program(version)
    if program is None:
        _lack("etcd", "there is no etcd; scripts/build_etcd.sh builds it")
    return program


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdCluster]:
    """One member for all tests of a process, which nobody kills."""
    cluster = EtcdCluster(_etcd())
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def oldest_etcd() -> Iterator[EtcdCluster]:
    """As `etcd`, of the oldest version that the coordinator takes."""
    cluster = EtcdCluster(_etcd(OLDEST))
    yield cluster
    cluster.remove()


@pytest.fixture
def new_etcd() -> Iterator[Callable[..., EtcdCluster]]:
    """`new_etcd(members, *options)`: a cluster of this test alone, whose members it may kill."""
    made: list[EtcdCluster] = []

    def start(members: int = 1, *options: str) -> EtcdCluster:
        made.append(EtcdCluster(_etcd(), members, *options))
        return made[-1]

    yield start
    for cluster in made:
        cluster.remove()
