"""etcd as it is asked: it agrees with the database in memory of the model, and fails in bounded time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator.etcd import Etcd
from qmtl.services.coordinator.key_values import Committed, Conflict, Put, UnknownLifetimeError
from tests.qmtl.certificates import self_signed
from tests.qmtl.etcd import EtcdCluster
from tests.qmtl.ports import free_port
from tests.qmtl.services.coordinator.conftest import forget_all
from tests.qmtl.services.coordinator.memory_keys import MemoryKeys

T = TypeVar("T")

NAMES = ("a/", "a/b", "b/x", "ä/ü 0")
names = st.sampled_from(NAMES)
values = st.binary(max_size=8)
# Of each step: which keys it expects as they are, which of them wrongly, and what it changes.
steps = st.lists(
    st.tuples(
        st.sets(names), st.sets(names, max_size=1), st.dictionaries(names, st.none() | values, max_size=3)
    ),
    max_size=8,
)


async def once_it_answers(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """A machine that is busy takes longer than an attempt may, and so does an election."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await ask()
        except CoordinatorUnavailableError:
            assert time.monotonic() < deadline


def told(cluster: EtcdCluster, story: Callable[[Etcd], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def run() -> None:
        etcd = Etcd(cluster.urls, **options)
        try:
            await story(etcd)
        finally:
            await etcd.close()

    asyncio.run(run())


@pytest.fixture(params=["etcd", "oldest_etcd"])
def either(request: pytest.FixtureRequest) -> EtcdCluster:
    cluster: EtcdCluster = request.getfixturevalue(request.param)
    return cluster


# The fixture is a server; each example begins without keys.
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_it_agrees_with_a_database_in_memory(either: EtcdCluster, steps: list[Any]) -> None:
    forget_all(either)
    seen: dict[str, dict[str, int]] = {"etcd": {}, "memory": {}}

    async def story(etcd: Etcd) -> None:
        memory = MemoryKeys()
        for expected, wrong, changes in steps:
            puts = {name: None if value is None else Put(value) for name, value in changes.items()}
            outcomes = []
            for side, keys in (("etcd", etcd), ("memory", memory)):
                known = seen[side]
                revisions = {name: known.get(name, 0) + (name in wrong) for name in sorted(expected | wrong)}
                outcome = await keys.commit(revisions, puts)
                if isinstance(outcome, Committed):
                    known.update({name: outcome.revision for name, put in puts.items() if put})
                    for name, put in puts.items():
                        if put is None:
                            known.pop(name, None)
                    outcomes.append(sorted(known))
                else:
                    current = outcome.current.items()
                    assert {name: one.revision if one else 0 for name, one in current} == {
                        name: known.get(name, 0) for name in revisions
                    }
                    outcomes.append(sorted((name, one.value) for name, one in current if one))
            assert outcomes[0] == outcomes[1]
        for prefix in ("", "a/", "ä"):
            for after in ("", "a/"):
                for most in (1, 10):
                    found = [
                        [(key, entry.value) for key, entry in await keys.page(prefix, after=after, most=most)]
                        for keys in (etcd, memory)
                        if after.startswith(prefix) or not after
                    ]
                    assert found[:1] == found[1:]

    told(either, story)


def test_a_lifetime_takes_its_values_with_it(either: EtcdCluster) -> None:
    async def story(etcd: Etcd) -> None:
        lifetime = await etcd.begin_lifetime(2)
        assert lifetime.seconds >= 2
        await etcd.commit({}, {"a": Put(b"1", lifetime.number), "b": Put(b"2", lifetime.number)})
        assert await etcd.keep_alive(lifetime.number)
        assert [key for key, _ in await etcd.page("", most=9)] == ["a", "b"]
        await etcd.commit({}, {"b": Put(b"3")})  # not of the lifetime any more
        await etcd.end_lifetime(lifetime.number)
        assert [key for key, _ in await etcd.page("", most=9)] == ["b"]
        assert not await etcd.keep_alive(lifetime.number)
        await etcd.end_lifetime(lifetime.number)
        with pytest.raises(UnknownLifetimeError):
            await etcd.commit({}, {"c": Put(b"4", lifetime.number)})

    forget_all(either)
    told(either, story)


def test_as_many_keys_as_are_promised(either: EtcdCluster) -> None:
    async def story(etcd: Etcd) -> None:
        keys = [f"many/{number}" for number in range(etcd.most_keys)]
        changes: dict[str, Put | None] = {key: Put(b"x" * 3_000) for key in keys}
        assert isinstance(await etcd.commit(dict.fromkeys(keys, 0), changes), Committed)
        conflict = await etcd.commit(dict.fromkeys(keys, 0), changes)
        written = await etcd.commit({}, {"many/one more": Put(b"x")})
        assert written == Committed(await etcd.revision()), "what is refused has no number"
        assert isinstance(conflict, Conflict)
        assert set(conflict.current) == set(keys)

    forget_all(either)
    told(either, story)


def test_a_member_that_stands_still_is_left_for_the_next(new_etcd: Callable[..., EtcdCluster]) -> None:
    cluster = new_etcd(3)

    async def story(etcd: Etcd) -> None:
        other = Etcd(cluster.urls[1:])
        await once_it_answers(lambda: other.commit({}, {"a": Put(b"1")}))
        await other.close()
        cluster.send(0, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(CoordinatorUnavailableError, match="does not answer") as late:
            await etcd.commit({}, {"a": Put(b"2")})
        assert "within 1 s" in (late.value.why or "")
        assert time.monotonic() - began < 10
        # The one that stands still may have been the leader.
        await once_it_answers(lambda: etcd.commit({}, {"a": Put(b"3")}))
        found = await once_it_answers(lambda: etcd.page("a", most=1))
        assert [entry.value for _, entry in found] == [b"3"]
        cluster.send(0, signal.SIGCONT)
        cluster.send(1, signal.SIGKILL)
        cluster.send(2, signal.SIGKILL)
        with pytest.raises(CoordinatorUnavailableError):
            await etcd.commit({}, {"a": Put(b"4")})

    told(cluster, story, attempt_s=1.0)


def test_over_tls(
    new_etcd: Callable[..., EtcdCluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = self_signed(tmp_path)
    cluster, url = new_etcd(), f"https://127.0.0.1:{free_port()}"
    cluster.send(0, signal.SIGKILL)
    cluster.options += (
        f"--listen-client-urls={cluster.urls[0]},{url}",
        f"--cert-file={cert}",
        f"--key-file={key}",
    )
    cluster.start(0)

    async def story(etcd: Etcd) -> None:
        secured = Etcd([url])
        try:
            with pytest.raises(CoordinatorUnavailableError, match="does not answer") as refused:
                await secured.commit({}, {"a": Put(b"")})
            assert "certificate verify failed" in (refused.value.why or "")
            monkeypatch.setenv("SSL_CERT_FILE", str(cert))
            changes: dict[str, Put | None] = {f"tls/{number}": Put(bytes(10_000)) for number in range(100)}
            written = await secured.commit({"tls/0": 0}, changes)
            assert isinstance(written, Committed)
            assert isinstance(await secured.commit({"tls/0": 0}, changes), Conflict)
            assert {entry.value for _, entry in await secured.page("tls/", most=1_000)} == {bytes(10_000)}
            lifetime = await secured.begin_lifetime(5)
            assert await secured.keep_alive(lifetime.number)
            assert await etcd.revision() == written.revision
        finally:
            await secured.close()

    told(cluster, story)


def test_nobody_there() -> None:
    async def story() -> None:
        url = f"http://127.0.0.1:{free_port()}"
        etcd = Etcd([url, url])
        for ask in (etcd.status, lambda: etcd.begin_lifetime(5)):
            with pytest.raises(CoordinatorUnavailableError, match="does not answer") as refused:
                await ask()
            assert refused.value.next_step
        await etcd.close()

    asyncio.run(story())
