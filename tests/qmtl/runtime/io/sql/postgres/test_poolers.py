"""A pooler between a store and its server is refused with the reason, whatever it was set up to do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from qmtl.foundation.errors import StoreError
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.postgres.store import PostgresStore, is_store
from tests.qmtl.ports import free_port
from tests.qmtl.postgres import USER, PostgresServer


@pytest.fixture
def pooler(postgres_server: PostgresServer) -> Iterator[Callable[..., str]]:
    """`pooler(url, **settings)`: the address of a store behind a pgbouncer of those settings."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        lacking = "there is no pgbouncer; apt-get install pgbouncer"
        if os.environ.get("QMTL_TEST_REQUIRE", "") in ("all", "postgres"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    folder = postgres_server.folder / "pooler"
    folder.mkdir()
    running: list[subprocess.Popen[bytes]] = []

    def start(url: str, **settings: str) -> str:
        port = free_port()
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "logfile": str(folder / "log"),
            **settings,
        }
        lines = [f"{name} = {value}" for name, value in given.items()]
        target = f"host=127.0.0.1 port={postgres_server.port} user={USER}"
        config = folder / "pgbouncer.ini"
        config.write_text("\n".join(["[databases]", f"* = {target}", "[pgbouncer]", *lines, ""]))
        user = "postgres" if os.getuid() == 0 else None
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(config, user)
        running.append(subprocess.Popen([program, "-q", config], user=user, cwd="/"))
        _wait_for(port, folder / "log", running[-1])
        return urlsplit(url)._replace(netloc=f"{USER}@127.0.0.1:{port}").geturl()

    yield start
    for process in running:
        process.kill()
        process.wait(60)
    shutil.rmtree(folder)


def _wait_for(port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(6_000):
        assert process.poll() is None, log.read_text() if log.exists() else "no log"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            pause.wait(0.01)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_a_pooler_as_it_is_set_up_at_first(postgres_url: str, pooler: Callable[..., str], mode: str) -> None:
    """It knows nothing of the settings that a session begins with, and says so."""
    with pytest.raises(StoreError, match="a pooler between here and the database") as refused:
        PostgresStore(pooler(postgres_url, pool_mode=mode))
    assert "unsupported startup parameter" in str(refused.value.why)
    assert refused.value.next_step is not None
    assert "connect to the server itself" in refused.value.next_step


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_a_pooler_that_is_told_to_ignore_the_settings(
    postgres_url: str, pooler: Callable[..., str], mode: str
) -> None:
    """As its documentation advises. The statements of a store would meet the schema of another."""
    place = pooler(postgres_url, pool_mode=mode, ignore_startup_parameters="options")
    with pytest.raises(StoreError, match="a pooler between here and the database") as refused:
        PostgresStore(place)
    assert "the session has search_path = " in str(refused.value.why)
    assert not is_store(StoreAddress.parse(postgres_url)), "nothing was made"


def test_a_pooler_behind_which_a_user_begins_with_the_right_schema(
    postgres_url: str, pooler: Callable[..., str], postgres_server: PostgresServer
) -> None:
    """In transactions of one session, statements that were prepared in another would be missing."""
    PostgresStore(postgres_url).close()
    schema = postgres_url.partition("schema=")[2]
    with psycopg.connect(postgres_server.url(), autocommit=True) as owner:
        owner.execute("SELECT set_config('search_path', %s, false)", (f'"{schema}"',))
        owner.execute(f"ALTER ROLE {USER} SET search_path FROM CURRENT")
        try:
            place = pooler(postgres_url, pool_mode="transaction", ignore_startup_parameters="options")
            with pytest.raises(StoreError, match="a pooler between here and the database") as refused:
                PostgresStore(place)
        finally:
            owner.execute(f"ALTER ROLE {USER} RESET search_path")
    assert "the session has enable_seqscan = on, and not off" in str(refused.value.why)
