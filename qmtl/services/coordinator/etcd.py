"""etcd as `KeyValues`, over gRPC: one attempt for each call, within a deadline of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator import etcd_messages as wire
from qmtl.services.coordinator.grpc.connections import Connections, NotConnectedError
from qmtl.services.coordinator.key_values import (
    Committed,
    Conflict,
    Entry,
    Lifetime,
    Put,
    UnknownLifetimeError,
)

T = TypeVar("T")

# All keys of coordinators begin with this.
PREFIX = "/qmtl/coordinator/"

# An answer takes about a millisecond. While there is no leader there is none, and an election takes 1 to 2 s.
ATTEMPT_S = 2.5
_CONNECT_S = 1.0

# etcd refuses a transaction of more than 128 comparisons, or as many changes.
_MOST_KEYS = 128

# Of gRPC.
_NOT_FOUND = 5


class MemberStatus(NamedTuple):
    """What a member of etcd says of itself. alarms: in its own words, such as that it is out of space."""

    url: str
    version: str
    cluster: str
    alarms: tuple[str, ...]


class Etcd:
    """Members of one cluster, by their URLs. Used on one event loop.

    A call goes to the member that answered last. Where none can be connected to, the next one is taken; where
    no answer comes, the call has failed, and the next call goes to the next member.
    """

    most_keys = _MOST_KEYS

    def __init__(self, urls: Sequence[str], *, attempt_s: float = ATTEMPT_S) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._first = 0
        self._attempt_s = attempt_s
        self._connections = Connections(connect_s=_CONNECT_S)

    async def commit(
        self, expected: Mapping[str, int], changes: Mapping[str, Put | None]
    ) -> Committed | Conflict:
        message = wire.transaction(
            {_key(name): revision for name, revision in expected.items()},
            {_key(name): put for name, put in changes.items()},
        )
        return await self._call(wire.TXN, message, lambda answer: wire.outcome(answer, expected))

    async def page(self, prefix: str, *, after: str = "", most: int) -> list[tuple[str, Entry]]:
        first = f"{PREFIX}{after}\0" if after else PREFIX + prefix
        whole = (PREFIX + prefix).encode()
        behind = whole[:-1] + bytes([whole[-1] + 1])
        message = wire.keys_between(first.encode(), behind, most)
        found = await self._call(wire.RANGE, message, wire.entries)
        return [(key.decode().removeprefix(PREFIX), entry) for key, entry in found]

    async def revision(self) -> int:
        # Read from the leader's view, as every range is that does not say otherwise.
        return await self._call(wire.RANGE, wire.one_key(_key("format")), wire.revision)

    async def begin_lifetime(self, seconds: int) -> Lifetime:
        return await self._call(wire.GRANT, wire.lifetime(seconds), wire.lifetime_begun)

    async def keep_alive(self, number: int) -> bool:
        # A stream of one request, whose answer is a stream of one.
        return await self._call(wire.KEEP_ALIVE, wire.lifetime_number(number), wire.seconds_left) > 0

    async def end_lifetime(self, number: int) -> None:
        try:
            await self._call(wire.REVOKE, wire.lifetime_number(number), bytes)
        except UnknownLifetimeError:
            return

    async def status(self) -> list[MemberStatus]:
        """Of each member that answers; at least one, else `CoordinatorUnavailableError` is raised."""
        found: list[MemberStatus] = []
        failure: CoordinatorUnavailableError | None = None
        for url in self._urls:
            try:
                answer = await self._ask(url, wire.STATUS, b"", wire.cluster_version_alarms)
            except NotConnectedError as cause:
                failure = _unreachable(url, str(cause))
                continue
            except CoordinatorUnavailableError as cause:
                failure = cause
                continue
            cluster, version, alarms = answer
            found.append(MemberStatus(url, version, cluster, alarms))
        if failure is not None and not found:
            raise failure
        return found

    async def close(self) -> None:
        self._connections.close()

    async def _call(self, method: str, message: bytes, read: Callable[[bytes], T]) -> T:
        failure: NotConnectedError | None = None
        for offset in range(len(self._urls)):
            number = (self._first + offset) % len(self._urls)
            try:
                answer = await self._ask(self._urls[number], method, message, read)
            except NotConnectedError as cause:
                failure = cause
                continue
            except CoordinatorUnavailableError:
                self._first = (number + 1) % len(self._urls)
                raise
            self._first = number
            return answer
        raise _unreachable(", ".join(self._urls), str(failure)) from failure

    async def _ask(self, url: str, method: str, message: bytes, read: Callable[[bytes], T]) -> T:
        try:
            async with asyncio.timeout(self._attempt_s):
                answer = await self._connections.call(url, method, message)
        except (TimeoutError, ConnectionError) as cause:
            raise _unreachable(
                url, str(cause) or f"it did not answer within {self._attempt_s:g} s"
            ) from cause
        if answer.status == _NOT_FOUND and "lease not found" in answer.why:
            raise UnknownLifetimeError(answer.why)
        if answer.status:
            raise CoordinatorUnavailableError(
                f"etcd at {url} refuses",
                url=url,
                why=answer.why or f"status {answer.status} of gRPC",
                next_step=_NEXT.get(_kind(answer.why)),
            )
        try:
            return read(answer.message)
        except ValueError as cause:
            raise _unreachable(url, f"its answer cannot be read ({cause}): is it etcd?") from cause


_NEXT = {
    "space": "compact and defragment etcd, or raise its quota, and disarm the alarm NOSPACE",
    "login": "the coordinator logs in to no etcd; let it in without a password, or by the network alone",
}


def _kind(message: str) -> str:
    if "space exceeded" in message:
        return "space"
    return "login" if "permission" in message or "user name" in message else ""


def _unreachable(url: str, why: str) -> CoordinatorUnavailableError:
    return CoordinatorUnavailableError(
        f"etcd does not answer at {url}", url=url, why=why, next_step="see whether a majority of it runs"
    )


def _key(name: str) -> bytes:
    return (PREFIX + name).encode()
