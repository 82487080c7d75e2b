"""How a member is named, what cannot be used, and what etcd is then started with."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmtl.foundation.errors import InvalidRequestError
from qmtl.services.coordinator.member.plan import (
    Member,
    etcd_words,
    is_of_this_machine_alone,
    member,
    parsed,
    restore_words,
)

GROUP = "a=http://10.0.0.1:2380,b=http://host-b:2380, c=http://10.0.0.3:2380/"
FOLDER = Path("/data")


def planned(named: str, cluster: str | None = GROUP, *, joins: bool = False) -> Member:
    return member(named, cluster, folder=FOLDER, client_port=2379, joins=joins)


def test_what_etcd_is_started_with() -> None:
    words = etcd_words(planned("a=http://10.0.0.1:2380"))
    assert words == [
        "--name=a",
        "--data-dir=/data",
        "--listen-peer-urls=http://10.0.0.1:2380",
        "--initial-advertise-peer-urls=http://10.0.0.1:2380",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--initial-cluster=a=http://10.0.0.1:2380,b=http://host-b:2380,c=http://10.0.0.3:2380",
        "--initial-cluster-state=new",
        "--initial-cluster-token=qmtl-coordinator",
        "--auto-compaction-retention=1h",
    ]
    assert "--initial-cluster-state=existing" in etcd_words(planned("a=http://10.0.0.1:2380", joins=True))


@pytest.mark.parametrize(
    ("host", "address"),
    [("host-b", "0.0.0.0"), ("localhost", "127.0.0.1"), ("[::1]", "[::1]"), ("10.0.0.9", "10.0.0.9")],
)
def test_a_name_listens_everywhere_and_an_address_there_alone(host: str, address: str) -> None:
    words = etcd_words(planned(f"b=http://{host}:2380", None))
    assert f"--listen-peer-urls=http://{address}:2380" in words
    assert f"--initial-cluster=b=http://{host}:2380" in words


def test_what_a_snapshot_is_restored_with() -> None:
    words = restore_words(planned("b=http://host-b:2380"), Path("s.db"), "abc")
    assert words[:3] == ["snapshot", "restore", "s.db"]
    assert {"--name=b", "--data-dir=/data", "--bump-revision=1000000000", "--mark-compacted"} <= set(words)
    assert "--initial-cluster-token=qmtl-coordinator-abc" in words


@pytest.mark.parametrize(
    ("named", "cluster", "reason"),
    [
        ("a", GROUP, "'a' is not NAME=http://HOST:PORT"),
        ("a=10.0.0.1:2380", GROUP, "is not NAME=http://HOST:PORT"),
        ("a=http://10.0.0.1", GROUP, "is not NAME=http://HOST:PORT"),
        ("a b=http://10.0.0.1:2380", GROUP, "is not NAME=http://HOST:PORT"),
        ("a=http://u:p@10.0.0.1:2380", GROUP, "one with a user is not NAME=http://HOST:PORT"),
        ("a=http://::1:2380", None, "is not NAME=http://HOST:PORT"),
        ("a=https://10.0.0.1:2380", GROUP, "do not encrypt"),
        (GROUP, GROUP, "it names more than one"),
        ("d=http://10.0.0.1:2380", GROUP, "d is not among them"),
        ("a=http://10.0.0.2:2380", GROUP, "a is http://10.0.0.1:2380 there"),
        ("a=http://10.0.0.1:2380", "a=http://10.0.0.1:2380,a=http://h:1", "a is there twice"),
        ("a=http://10.0.0.1:2380", "a=http://10.0.0.1:2380,b=http://10.0.0.1:2380", "2380 is there twice"),
        ("a=http://10.0.0.1:2380", "a=http://10.0.0.1:2380,", "'' is not NAME="),
        ("a=http://10.0.0.1:99999", None, "'a=http://10.0.0.1:99999' is not NAME=http://HOST:PORT"),
    ],
)
def test_what_cannot_be_used(named: str, cluster: str | None, reason: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        planned(named, cluster)
    assert reason in str(refused.value)
    assert "--" in refused.value.what
    assert refused.value.next_step


def test_nobody_can_join_alone() -> None:
    with pytest.raises(InvalidRequestError, match="no other member to join"):
        planned("a=http://10.0.0.1:2380", None, joins=True)


def test_urls_by_name() -> None:
    assert parsed("a=http://h:1/", "--member") == {"a": "http://h:1"}


@pytest.mark.parametrize(
    ("url", "alone"),
    [
        ("http://127.0.0.1:2380", True),
        ("http://[::1]:2380", True),
        ("http://localhost:2380", True),
        ("http://192.0.2.2:2380", False),
        ("http://etcd-d:2380", False),
    ],
)
def test_who_reaches_a_member(url: str, alone: bool) -> None:
    assert is_of_this_machine_alone(url) is alone
