"""A PostgreSQL server for the length of the demo, made of the programs that Debian's package brings."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmtl.foundation.errors import StoreError

_PLACES = "/usr/lib/postgresql"
_INSTALL = "apt-get install postgresql"


@contextmanager
def running_server() -> Iterator[str]:
    """Its address, `postgresql://demo@127.0.0.1:PORT/postgres`; it and its data are gone afterwards.

    Raises `StoreError`, with the command that installs it, where there is no PostgreSQL.
    """
    programs = _programs()
    # It refuses to run as root; the package has made a user for it.
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="qmtl-demo-"))
    data, port = folder / "data", free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=on"

    def control(*words: str | Path) -> None:
        done = subprocess.run(
            [programs / "pg_ctl", "-D", data, *words], user=user, cwd="/", capture_output=True, text=True
        )
        if done.returncode:
            raise StoreError(
                "the PostgreSQL server of the demo did not do what it was told",
                path=folder,
                why=f"pg_ctl {words[0]}: {(done.stderr or done.stdout).strip()}",
                next_step=f"look into {folder / 'log'}",
            )

    if user is not None:
        shutil.chown(folder, user)
    control("init", "-o", "-A trust -U demo -E UTF8 --locale=C --no-sync")
    control("start", "-w", "-l", folder / "log", "-o", options)
    try:
        yield f"postgresql://demo@127.0.0.1:{port}/postgres"
    finally:
        control("stop", "-w", "-m", "immediate")
        shutil.rmtree(folder)


def _programs() -> Path:
    found = [path.parent for path in Path(_PLACES).glob("*/bin/pg_ctl")]
    if not found:
        raise StoreError(
            "this demo needs a PostgreSQL server, and starts one itself",
            path=_PLACES,
            why="its programs are not installed",
            next_step=_INSTALL,
        )
    return max(found, key=lambda path: float(path.parent.name))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
