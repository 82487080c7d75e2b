"""etcd as `KeyValues`, over its JSON gateway: one attempt for each call, within a deadline of ours."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qmtl.foundation.errors import CoordinatorUnavailableError
from qmtl.services.coordinator.gateway_connections import GatewayConnections, NotConnectedError
from qmtl.services.coordinator.json_entries import as_json
from qmtl.services.coordinator.key_values import (
    Committed,
    Conflict,
    Entry,
    Lifetime,
    Put,
    UnknownLifetimeError,
)

# All keys of coordinators begin with this.
PREFIX = "/qmtl/coordinator/"

# An answer takes about a millisecond. While there is no leader there is none, and an election takes 1 to 2 s.
ATTEMPT_S = 2.5
_CONNECT_S = 1.0

# etcd refuses a transaction of more than 128 comparisons, or as many changes.
_MOST_KEYS = 128

# Of gRPC; the gateway gives them as `code`.
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
        self._connections = GatewayConnections(connect_s=_CONNECT_S)

    async def commit(
        self, expected: Mapping[str, int], changes: Mapping[str, Put | None]
    ) -> Committed | Conflict:
        keys = {name: _key(name) for name in (*expected, *changes)}
        answer = await self._call(
            "kv/txn",
            {
                "compare": [
                    {"key": keys[name], "target": "MOD", "mod_revision": str(revision)}  # equal, that is
                    for name, revision in expected.items()
                ],
                "success": [_change(keys[name], put) for name, put in changes.items()],
                "failure": [{"request_range": {"key": keys[name]}} for name in expected],
            },
        )
        if answer.get("succeeded"):
            return Committed(int(answer["header"]["revision"]))
        found = [response["response_range"].get("kvs", []) for response in answer.get("responses", [])]
        return Conflict(
            {name: _entry(kvs[0]) if kvs else None for name, kvs in zip(expected, found, strict=True)}
        )

    async def page(self, prefix: str, *, after: str = "", most: int) -> list[tuple[str, Entry]]:
        first = f"{PREFIX}{after}\0" if after else PREFIX + prefix
        whole = (PREFIX + prefix).encode()
        behind = whole[:-1] + bytes([whole[-1] + 1])
        answer = await self._call(
            "kv/range", {"key": _text(first.encode()), "range_end": _text(behind), "limit": str(most)}
        )
        return [
            (b64decode(kv["key"]).decode().removeprefix(PREFIX), _entry(kv)) for kv in answer.get("kvs", [])
        ]

    async def revision(self) -> int:
        # Read from the leader's view, as every range is that does not say otherwise.
        answer = await self._call("kv/range", {"key": _key("format"), "keys_only": True})
        return int(answer["header"]["revision"])

    async def begin_lifetime(self, seconds: int) -> Lifetime:
        answer = await self._call("lease/grant", {"TTL": str(seconds)})
        return Lifetime(int(answer["ID"]), int(answer["TTL"]))

    async def keep_alive(self, number: int) -> bool:
        # The answer is a stream of one.
        answer = await self._call("lease/keepalive", {"ID": str(number)})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    async def end_lifetime(self, number: int) -> None:
        try:
            await self._call("lease/revoke", {"ID": str(number)})
        except UnknownLifetimeError:
            return

    async def status(self) -> list[MemberStatus]:
        """Of each member that answers; at least one, else `CoordinatorUnavailableError` is raised."""
        found: list[MemberStatus] = []
        failure: CoordinatorUnavailableError | None = None
        for url in self._urls:
            try:
                answer = await self._ask(url, "maintenance/status", {})
            except NotConnectedError as cause:
                failure = _unreachable(url, str(cause))
                continue
            except CoordinatorUnavailableError as cause:
                failure = cause
                continue
            header = answer["header"]
            found.append(
                MemberStatus(url, answer["version"], header["cluster_id"], tuple(answer.get("errors", ())))
            )
        if failure is not None and not found:
            raise failure
        return found

    async def close(self) -> None:
        self._connections.close()

    async def _call(self, path: str, body: Mapping[str, Any]) -> Any:
        failure: NotConnectedError | None = None
        for offset in range(len(self._urls)):
            number = (self._first + offset) % len(self._urls)
            try:
                answer = await self._ask(self._urls[number], path, body)
            except NotConnectedError as cause:
                failure = cause
                continue
            except CoordinatorUnavailableError:
                self._first = (number + 1) % len(self._urls)
                raise
            self._first = number
            return answer
        raise _unreachable(", ".join(self._urls), str(failure)) from failure

    async def _ask(self, url: str, path: str, body: Mapping[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._attempt_s):
                status, text = await self._connections.post(url, f"/v3/{path}", as_json(body))
        except (TimeoutError, ConnectionError) as cause:
            raise _unreachable(
                url, str(cause) or f"it did not answer within {self._attempt_s:g} s"
            ) from cause
        try:
            answer = json.loads(text)
        except ValueError as cause:
            raise _unreachable(url, f"it answered HTTP {status} without JSON: is it etcd?") from cause
        if status == 200 and "error" not in answer:
            return answer
        answer = answer.get("error", answer) if isinstance(answer.get("error"), dict) else answer
        message = str(answer.get("message", f"HTTP {status}"))
        if answer.get("code") == _NOT_FOUND and "lease not found" in message:
            raise UnknownLifetimeError(message)
        raise CoordinatorUnavailableError(
            f"etcd at {url} refuses", url=url, why=message, next_step=_NEXT.get(_kind(message))
        )


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


def _change(key: str, put: Put | None) -> dict[str, Any]:
    if put is None:
        return {"request_delete_range": {"key": key}}
    lease = {} if put.lifetime is None else {"lease": str(put.lifetime)}
    return {"request_put": {"key": key, "value": _text(put.value), **lease}}


def _key(name: str) -> str:
    return _text((PREFIX + name).encode())


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()


def _entry(kv: Mapping[str, Any]) -> Entry:
    return Entry(b64decode(kv.get("value", "")), int(kv["mod_revision"]))
