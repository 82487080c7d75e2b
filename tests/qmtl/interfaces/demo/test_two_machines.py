"""The demo of two machines: all that it claims is true, and it leaves nothing behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from qmtl.foundation.errors import StoreError
from qmtl.interfaces.demo.two_machines import server


@pytest.mark.usefixtures("postgres_server")
def test_all_that_it_claims_is_true() -> None:
    words = [sys.executable, "-m", "qmtl.interfaces.demo.two_machines"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "FALSE" not in done.stdout
    claims = [line for line in done.stdout.splitlines() if line.startswith("  true   ")]
    assert len(claims) == 15, done.stdout
    port = re.search(r"@127\.0\.0\.1:(\d+)/", done.stdout)
    assert port is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port[1])))


def test_without_postgresql_it_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_PLACES", str(tmp_path))
    with pytest.raises(StoreError, match="needs a PostgreSQL server") as lacking, server.running_server():
        pass
    assert lacking.value.next_step == "apt-get install postgresql"


@pytest.mark.usefixtures("postgres_server")
def test_the_server_is_gone_afterwards_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    with suppress(ZeroDivisionError), server.running_server() as url:
        psycopg.connect(url).close()
        raise ZeroDivisionError
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
