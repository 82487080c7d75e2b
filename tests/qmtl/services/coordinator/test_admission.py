"""An etcd that cannot be served from is refused at the start, with the reason."""

from __future__ import annotations

import asyncio
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.services.coordinator.admission import admit
from qmtl.services.coordinator.etcd import PREFIX, Etcd
from qmtl.services.coordinator.grpc.protobuf import nested
from qmtl.services.coordinator.key_values import Entry, Put
from qmtl.services.coordinator.lease_service import LeaseService
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.ports import free_port
from tests.qmtl.served_process import QMTL
from tests.qmtl.services.coordinator.conftest import forget_all
from tests.qmtl.services.coordinator.grpc_server import Call, grpc_server_in_thread


def admitted(*urls: str, before: Callable[[Etcd], Any] | None = None, **options: Any) -> None:
    async def run() -> None:
        etcd = Etcd(urls)
        try:
            if before is not None:
                await before(etcd)
            await admit(etcd, **options)
        finally:
            await etcd.close()

    asyncio.run(run())


@pytest.fixture
def empty(etcd: EtcdCluster) -> Iterator[EtcdCluster]:
    forget_all(etcd)
    yield etcd
    forget_all(etcd)


def test_what_is_empty_or_ours_is_taken(empty: EtcdCluster, oldest_etcd: EtcdCluster) -> None:
    forget_all(oldest_etcd)
    for _ in range(2):
        admitted(*empty.urls)
        admitted(*oldest_etcd.urls)


def test_keys_of_somebody_else(empty: EtcdCluster) -> None:
    with pytest.raises(InvalidRequestError, match="belong to somebody else") as refused:
        admitted(*empty.urls, before=lambda etcd: etcd.commit({}, {"config": Put(b"theirs")}))
    assert f"{PREFIX}config" in (refused.value.why or "")


@pytest.mark.parametrize("questions", [1, 2])
def test_another_coordinator_begins_at_the_same_moment(empty: EtcdCluster, questions: int) -> None:
    """It marks the keys, and writes its first, behind one of the questions that this one asks."""

    class Slow(Etcd):
        asked = 0

        async def page(self, prefix: str, *, after: str = "", most: int) -> list[tuple[str, Entry]]:
            answer = await super().page(prefix, after=after, most=most)
            self.asked += 1
            if self.asked == questions:
                other = Etcd(empty.urls)
                await admit(other)
                await other.commit({}, {"a session": Put(b"its own")})
                await other.close()
            return answer

    async def run() -> None:
        etcd = Slow(empty.urls)
        try:
            await admit(etcd)
        finally:
            await etcd.close()

    asyncio.run(run())


@pytest.mark.parametrize("marker", [b"v2", b"[1]", b'{"format": 1}'])
def test_a_mark_of_somebody_else(empty: EtcdCluster, marker: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="belong to somebody else"):
        admitted(*empty.urls, before=lambda etcd: etcd.commit({}, {"format": Put(marker)}))


def test_two_grids(empty: EtcdCluster) -> None:
    admitted(*empty.urls)
    with pytest.raises(InvalidRequestError, match="in another way") as refused:
        admitted(*empty.urls, shard_steps=5_000)
    assert refused.value.why == "shard_steps is 10000 there, and 5000 here"


def test_two_clusters(etcd: EtcdCluster, oldest_etcd: EtcdCluster) -> None:
    with pytest.raises(InvalidRequestError, match="several etcd clusters"):
        admitted(*etcd.urls, *oldest_etcd.urls)


def test_one_member_of_three_answers(empty: EtcdCluster) -> None:
    admitted(f"http://127.0.0.1:{free_port()}", *empty.urls)


def test_an_etcd_without_space(new_etcd: Callable[..., EtcdCluster]) -> None:
    cluster = new_etcd(1, f"--quota-backend-bytes={2 * 2**20}")
    value = b64encode(b"x" * 10**6).decode()
    for number in range(10):
        key = b64encode(f"/filler/{number}".encode()).decode()
        if (
            httpx.post(
                f"{cluster.urls[0]}/v3/kv/put", json={"key": key, "value": value}, timeout=60
            ).status_code
            != 200
        ):
            break
    with pytest.raises(InvalidRequestError, match="has raised an alarm") as refused:
        admitted(*cluster.urls)
    assert "NOSPACE" in (refused.value.why or "")


def test_an_etcd_that_lets_nobody_write(new_etcd: Callable[..., EtcdCluster]) -> None:
    """Who does not log in may do nothing; all that the coordinator asks is whether it could commit."""
    cluster = new_etcd()
    secured = {
        "auth/user/add": {"name": "root", "password": "secret"},
        "auth/user/grant": {"user": "root", "role": "root"},
        "auth/enable": {},
    }
    for path, body in {"auth/role/add": {"name": "root"}, **secured}.items():
        httpx.post(f"{cluster.urls[0]}/v3/{path}", json=body, timeout=60).raise_for_status()
    with pytest.raises(CoordinatorUnavailableError, match="refuses") as refused:
        admitted(*cluster.urls)
    assert "user name is empty" in (refused.value.why or "")
    assert "without a password" in (refused.value.next_step or "")


def member_of(version: str) -> AbstractContextManager[str]:
    """One that answers, whatever it is asked, what it is."""

    async def serve(call: Call) -> None:
        call.answer(nested(2, version.encode()))

    return grpc_server_in_thread(serve)


@pytest.mark.parametrize("version", ["3.4.23", "3.5.21", "2.3.8", "unknown"])
def test_an_old_version(version: str) -> None:
    with member_of(version) as url, pytest.raises(InvalidRequestError, match=version) as refused:
        admitted(url)
    assert refused.value.next_step == "run etcd 3.6 or 3.7"


def test_what_is_no_etcd(etcd: EtcdCluster) -> None:
    # The port of the peers speaks HTTP, and not gRPC.
    peer = etcd._peers[0]
    with pytest.raises(CoordinatorUnavailableError) as refused:
        admitted(peer)
    assert "is it etcd?" in (refused.value.why or "")


def served_by(etcd: str) -> subprocess.CompletedProcess[str]:
    command = [QMTL, "serve", "coordinator", "--port", "0", "--etcd", etcd]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_the_command_says_so() -> None:
    with member_of("3.4.23") as old_etcd:
        nobody = f"http://127.0.0.1:{free_port()}"
        refused = [
            (served_by(etcd), code) for etcd, code in ((old_etcd, 2), (nobody, 7), ("etcd:2379", 2), ("", 2))
        ]
    for done, code in refused:
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert "next:" in done.stderr


def test_an_etcd_that_is_out_of_space_is_not_ready(new_etcd: Callable[..., EtcdCluster]) -> None:
    """Nor is anything stored by whoever asks whether it is."""
    cluster = new_etcd()

    async def story(etcd: Etcd) -> None:
        await admit(etcd)
        service = LeaseService(etcd, SystemClock())
        before = await etcd.commit({}, {})
        await service.check()
        assert await etcd.commit({}, {}) == before
        alarm = {"action": "ACTIVATE", "alarm": "NOSPACE", "memberID": "0"}
        url = f"{cluster.urls[0]}/v3/maintenance/alarm"
        (await asyncio.to_thread(httpx.post, url, json=alarm)).raise_for_status()
        with pytest.raises(CoordinatorUnavailableError, match="refuses") as refused:
            await service.check()
        assert "space" in (refused.value.why or "")

    async def run() -> None:
        etcd = Etcd(cluster.urls)
        try:
            await story(etcd)
        finally:
            await etcd.close()

    asyncio.run(run())
