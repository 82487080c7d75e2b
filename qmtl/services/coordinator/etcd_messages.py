"""Requests and answers of etcd as bytes.

The numbers of the fields: https://github.com/etcd-io/etcd/blob/main/api/etcdserverpb/rpc.proto, and kv.proto
beside it for key-value pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qmtl.services.coordinator.grpc.protobuf import Message, chosen_number, nested, number, repeated
from qmtl.services.coordinator.key_values import Committed, Conflict, Entry, Lifetime, Put

TXN = "/etcdserverpb.KV/Txn"
RANGE = "/etcdserverpb.KV/Range"
GRANT = "/etcdserverpb.Lease/LeaseGrant"
REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive"
STATUS = "/etcdserverpb.Maintenance/Status"

# Of `Compare`: that the revision of the last change is the same.
_MOD = 2


def transaction(expected: Mapping[bytes, int], changes: Mapping[bytes, Put | None]) -> bytes:
    """Change all where all has the revision expected; else read what is."""
    return b"".join(
        [
            repeated(
                1,
                (
                    number(2, _MOD) + nested(3, key) + chosen_number(6, revision)
                    for key, revision in expected.items()
                ),
            ),
            repeated(2, (_change(key, put) for key, put in changes.items())),
            repeated(3, (nested(1, nested(1, key)) for key in expected)),
        ]
    )


def _change(key: bytes, put: Put | None) -> bytes:
    if put is None:
        return nested(3, nested(1, key))
    return nested(2, nested(1, key) + nested(2, put.value) + number(3, put.lifetime or 0))


def outcome(answer: bytes, expected: Iterable[str]) -> Committed | Conflict:
    """expected: as of the transaction, and in that order."""
    found = Message(answer)
    if found.number(2):
        return Committed(found.message(1).number(3))
    ranges = [response.message(1).messages(2) for response in found.messages(3)]
    return Conflict(
        {name: _entry(kvs[0]) if kvs else None for name, kvs in zip(expected, ranges, strict=True)}
    )


def one_key(key: bytes) -> bytes:
    """Reads the revision of everything; of this key alone whether it is there."""
    return nested(1, key) + number(8, True)


def keys_between(first: bytes, end: bytes, most: int) -> bytes:
    """Reads entries from `first`, included, to `end`, excluded."""
    return nested(1, first) + nested(2, end) + number(3, most)


def entries(answer: bytes) -> list[tuple[bytes, Entry]]:
    return [(kv.part(1), _entry(kv)) for kv in Message(answer).messages(2)]


def revision(answer: bytes) -> int:
    """Of the newest commit, when this was answered."""
    return Message(answer).message(1).number(3)


def lifetime(seconds: int) -> bytes:
    """Begins one."""
    return number(1, seconds)


def lifetime_begun(answer: bytes) -> Lifetime:
    found = Message(answer)
    return Lifetime(found.number(2), found.number(3))


def lifetime_number(value: int) -> bytes:
    """Renews one, or ends it."""
    return number(1, value)


def seconds_left(answer: bytes) -> int:
    """Of one that was to be renewed; 0 if it has ended."""
    return Message(answer).number(3)


def cluster_version_alarms(answer: bytes) -> tuple[str, str, tuple[str, ...]]:
    """Of a member: the number of its cluster, its own version, and what it complains of."""
    found = Message(answer)
    return (
        str(found.message(1).unsigned(1)),
        found.text(2),
        tuple(alarm.decode() for alarm in found.parts(8)),
    )


def _entry(kv: Message) -> Entry:
    return Entry(kv.part(5), kv.number(3))
