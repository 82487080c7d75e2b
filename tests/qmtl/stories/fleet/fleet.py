"""A whole fleet on this machine, each part of which can be killed, stopped, cut off, or put out of time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.faketime import set_offset
from tests.qmtl.ports import free_port
from tests.qmtl.postgres import PostgresServer
from tests.qmtl.served_process import QMTL
from tests.qmtl.stories.fleet.children import child
from tests.qmtl.stories.fleet.clerk import Clerk
from tests.qmtl.stories.fleet.parts import Part
from tests.qmtl.stories.fleet.recorded_command import settings_file
from tests.qmtl.stories.fleet.worker_child import WorkerOrders, orders_file
from tests.qmtl.tcp_proxy import TcpProxy

TTL_S = 3
Undo = Callable[[], None]


class Fleet:
    """Three members of etcd, two coordinators, workers, PostgreSQL and an exchange; between them, proxies.

    clients: workers that fetch what they want themselves. commands: processes of `qmtl worker`, which fill
    the jobs that a clerk queues with `qmtl backfill --detach`. store_clock: the file that sets the clock of
    PostgreSQL.
    """

    def __init__(
        self,
        folder: Path,
        etcd: EtcdCluster,
        postgres: PostgresServer,
        *,
        store_clock: Path,
        clients: int,
        commands: int,
        seed: int,
    ) -> None:
        self.folder, self.etcd, self.postgres, self._store_clock = folder, etcd, postgres, store_clock
        workers = clients + commands
        self.history = folder / "history"
        self.history.mkdir()
        self._end = folder / "end"
        ports = [free_port() for _ in range(2)]
        exchange = free_port()
        self.coordinators = [
            Part(f"coordinator{number}", [str(QMTL), *_serve(port, etcd)], folder)
            for number, port in enumerate(ports)
        ]
        self.exchange = Part("exchange", child("exchange_child", exchange, self.history), folder)
        self.to_coordinators = [TcpProxy(*ports) for _ in range(workers)]
        self.to_stores = [TcpProxy(postgres.port) for _ in range(workers)]
        self.workers = []
        for number in range(workers):
            orders = WorkerOrders(
                name=f"worker{number}",
                store=self.to_stores[number].url(postgres.url("bars")),
                coordinator=f"http://127.0.0.1:{self.to_coordinators[number].port}",
                exchange=f"http://127.0.0.1:{exchange}",
                history=str(self.history),
                ttl_s=TTL_S,
                page_rows=200,
                pause_s=0.05,
                seed=str(seed),
                end=str(self._end),
                clock=str(folder / f"worker{number}.clock"),
            )
            # As on machines of their own: the locks of one are not seen by another.
            env = {"XDG_STATE_HOME": str(folder / orders.name)}
            if number < clients:
                command = child("worker_child", orders_file(orders))
            else:
                settings = settings_file(orders)
                words = ("-v", "--config", settings, "worker")
                command = child("recorded_command", settings.with_suffix(".orders"), *words)
            self.workers.append(Part(orders.name, command, folder, env, reads_clock=True))
        self.commands = self.workers[clients:]
        for part in (*self.coordinators, self.exchange):
            part.start()
        for part, port in zip(self.coordinators, ports, strict=True):
            _wait_for(part, port)
        for part in self.workers:
            part.start()
        self._to_clerk = TcpProxy(*ports)
        self.clerk = Clerk(folder, postgres.url("bars"), f"http://127.0.0.1:{self._to_clerk.port}", seed)
        self.clerk.start()

    @property
    def parts(self) -> list[tuple[str, int]]:
        """All that faults may meet."""
        numbers = range(len(self.workers))
        return [
            *(("etcd", number) for number in range(3)),
            ("leader", 0),
            *(("coordinator", number) for number in range(2)),
            *(("worker", number) for number in numbers),
            *(("to coordinator", number) for number in numbers),
            *(("to store", number) for number in numbers),
            ("store", 0),
            ("exchange", 0),
        ]

    def harm(self, part: str, number: int, how: str, by: int) -> Undo:
        """Do it; what is given back undoes it."""
        match part, how:
            case (("etcd" | "leader"), _):
                return self._harm_etcd(number if part == "etcd" else self._leader(), how)
            case "store", "kill":
                self.postgres.kill()
                return self.postgres.start
            case "store", "jump":
                set_offset(self._store_clock, by)
                return lambda: set_offset(self._store_clock, 0)
            case "store", _:
                return self._stop_store()
            case (("to coordinator" | "to store"), _):
                proxies = self.to_coordinators if part == "to coordinator" else self.to_stores
                if how == "stall":
                    proxies[number].stall()
                    return proxies[number].resume
                proxies[number].cut()
                return lambda: None
        one = self.exchange
        if part != "exchange":
            one = (self.workers if part == "worker" else self.coordinators)[number]
        if how == "jump":
            one.set_clock(by)
            return lambda: one.set_clock(0)
        if how == "kill":
            one.kill()
            return one.start
        one.send(signal.SIGSTOP)
        return lambda: one.send(signal.SIGCONT)

    def _harm_etcd(self, number: int, how: str) -> Undo:
        etcd = self.etcd
        if how == "kill":
            etcd.send(number, signal.SIGKILL)
            # The leader may be one of those that are killed by their number.
            return lambda: None if etcd.processes[number].poll() is None else etcd.begin(number)
        etcd.send(number, signal.SIGSTOP)
        return lambda: etcd.send(number, signal.SIGCONT)

    def _leader(self) -> int:
        """That of etcd, or any member where there is none."""
        for number, url in enumerate(self.etcd.urls):
            try:
                status = httpx.post(f"{url}/v3/maintenance/status", json={}, timeout=0.5).json()
            except (httpx.HTTPError, ValueError):
                continue
            if "leader" in status and status["leader"] == status["header"]["member_id"]:
                return number
        return 0

    def _stop_store(self) -> Undo:
        server = psutil.Process(self.postgres.process.pid)
        stopped = [server, *server.children(recursive=True)]
        for one in stopped:
            _signal(one, signal.SIGSTOP)
        return lambda: [_signal(one, signal.SIGCONT) for one in stopped] and None

    def restart_ended(self) -> None:
        """What ended by itself, as coordinators do that begin without etcd, and commands without a store."""
        for part in (*self.coordinators, *self.commands, self.exchange):
            if not part.is_killed:
                part.start()

    def finish(self, within_s: float) -> list[int | None]:
        """Let the workers end what they have begun; their exit codes, None of one that did not end.

        `qmtl worker` gets SIGTERM once all jobs have ended.
        """
        self._end.touch()
        self.clerk.leave()
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and None in self.exit_codes:
            self.restart_ended()
            if self.clerk.has_ended and self.clerk.open_jobs() == 0:
                for part in self.commands:
                    part.send(signal.SIGTERM)
            time.sleep(0.5)
        return self.exit_codes

    @property
    def exit_codes(self) -> list[int | None]:
        """Of the workers."""
        return [None if part.process is None else part.process.poll() for part in self.workers]

    def remove(self) -> None:
        """End all that this has started."""
        self.clerk.abandon()
        for part in (*self.workers, *self.coordinators, self.exchange):
            part.send(signal.SIGCONT)
            part.send(signal.SIGKILL)
        for proxy in (*self.to_coordinators, *self.to_stores, self._to_clerk):
            proxy.close()


def _serve(port: int, etcd: EtcdCluster) -> list[str]:
    return ["-v", "serve", "coordinator", "--port", str(port), "--etcd", ",".join(etcd.urls)]


def _wait_for(coordinator: Part, port: int) -> None:
    """Until it is ready; one that ended, because etcd was slow to answer it, is started again."""
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).raise_for_status()
            return
        except httpx.HTTPError as cause:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{coordinator.name} did not begin: {coordinator.log()[-3000:]}"
                ) from cause
            coordinator.start()
            time.sleep(0.1)


def _signal(process: psutil.Process, how: signal.Signals) -> None:
    try:
        process.send_signal(how)
    except psutil.NoSuchProcess:
        return  # it has ended
