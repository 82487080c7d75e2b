"""A second server from the files of a first one: a replica that follows it, or one that is restored."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.qmtl.ports import free_port
from tests.qmtl.postgres import USER, PostgresServer


class ServerFromBackup(PostgresServer):
    """One that begins with the base backup of another server.

    follows: whether it streams from that server, in recovery. recovery: settings of a recovery up to a point,
    after which it is a primary.
    """

    def __init__(self, backup: Path, of: PostgresServer, *, recovery: dict[str, str] | None = None) -> None:
        self._programs, self._user = of._programs, of._user
        self.folder = Path(tempfile.mkdtemp(prefix="qmtl-postgres-"))
        self.data = self.folder / "data"
        shutil.move(str(backup), self.data)
        if self._user:
            shutil.chown(self.folder, self._user)
        if recovery is not None:
            lines = [f"{name} = '{value}'\n" for name, value in recovery.items()]
            with (self.data / "postgresql.auto.conf").open("a") as file:
                file.writelines(lines)
            (self.data / "recovery.signal").touch()
        self.port = free_port()
        self.start()


def base_backup(server: PostgresServer, *, follows: bool = False) -> Path:
    """The files of a server, while it runs."""
    rule = "host replication all 127.0.0.1/32 trust\n"
    rules = server.data / "pg_hba.conf"
    if "replication" not in rules.read_text():
        with rules.open("a") as file:
            file.write(rule)
        server.process.send_signal(signal.SIGHUP)
    place = Path(tempfile.mkdtemp(prefix="qmtl-base-", dir=server.folder)) / "data"
    if server._user:
        shutil.chown(place.parent, server._user)
    words = ["-h", "127.0.0.1", "-p", str(server.port), "-U", USER, "-D", str(place), "--checkpoint=fast"]
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(
            [server._programs / "pg_basebackup", *words, "--no-sync", *(["-R"] if follows else [])],
            user=server._user,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.returncode:
            return place
        # The rule of a moment ago may not have been read yet.
        assert "pg_hba.conf" in done.stderr, done.stderr
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)


def replica_of(server: PostgresServer) -> PostgresServer:
    return ServerFromBackup(base_backup(server, follows=True), server)


def become_replica(server: PostgresServer) -> None:
    """Start a server again in recovery, as the old primary of a switchover."""
    server.stop()
    signal_file = server.data / "standby.signal"
    signal_file.touch()
    if server._user:
        shutil.chown(signal_file, server._user)
    server.start()


def catch_up(server: PostgresServer, replica: PostgresServer) -> None:
    """Wait until a replica has replayed what its primary has committed."""
    (goal,) = _asked(server, "SELECT pg_current_wal_flush_lsn()::text")
    deadline = time.monotonic() + 60
    while not _asked(replica, f"SELECT pg_last_wal_replay_lsn() >= '{goal}'")[0]:
        assert time.monotonic() < deadline, "the replica does not follow"
        time.sleep(0.02)


def cut_off(replica: PostgresServer) -> None:
    """Let nothing reach the replica any more."""
    with psycopg.connect(replica.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 60
    while _asked(replica, "SELECT count(*) FROM pg_stat_wal_receiver")[0]:
        assert time.monotonic() < deadline, "the replica goes on to follow"
        time.sleep(0.02)


def promote(replica: PostgresServer) -> None:
    assert _asked(replica, "SELECT pg_promote(true, 60)") == (True,)


def wait_for_recovery(server: PostgresServer) -> None:
    """Wait until a server that is restored has reached its point, and can be written."""
    deadline = time.monotonic() + 60
    while _asked(server, "SELECT pg_is_in_recovery()")[0]:
        assert time.monotonic() < deadline, "the server stays in recovery"
        time.sleep(0.02)


def _asked(server: PostgresServer, question: str) -> tuple[object, ...]:
    with psycopg.connect(server.url()) as connection:
        found = connection.execute(question).fetchone()
        assert found is not None
        return tuple(found)
