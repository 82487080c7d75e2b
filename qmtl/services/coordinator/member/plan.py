"""A member of a group of etcd, as the command line names it, and the words that etcd is started with."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from qmtl.foundation.errors import InvalidRequestError

# One for all groups: names and URLs tell them apart, and etcd refuses a member of another group.
_TOKEN = "qmtl-coordinator"
_NAMED_URL = r"([A-Za-z0-9._-]{1,64})=(https?)://(\[[0-9A-Fa-f:.]+\]|[^][/@:\s=]+):(\d{1,5})/?"
_EXAMPLE = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380"


class Member(NamedTuple):
    """group: all members by name, with the URLs at which they hear each other; this one is among them.

    folder: its data. client_port: on 127.0.0.1, where its own coordinator asks it. joins: the group is there
    already, and has been told of it.
    """

    name: str
    group: Mapping[str, str]
    folder: Path
    client_port: int
    joins: bool = False

    @property
    def peer_url(self) -> str:
        return self.group[self.name]

    @property
    def client_url(self) -> str:
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def peer_host(self) -> str:
        return urlsplit(self.peer_url).hostname or ""


def member(
    named: str, initial_cluster: str | None, *, folder: Path, client_port: int, joins: bool = False
) -> Member:
    """named: `NAME=URL`. initial_cluster: all members, with commas between; None where it is alone.

    Raises `InvalidRequestError`.
    """
    name, url = named_url(named, "--member")
    group = {name: url} if initial_cluster is None else parsed(initial_cluster, "--initial-cluster")
    if group.get(name) != url:
        stands = f"{name} is {group[name]} there" if name in group else f"{name} is not among them"
        raise _refused("--initial-cluster", f"--member is {name}={url}, and {stands}")
    if joins and len(group) == 1:
        raise _refused("--initial-cluster", "--join is given, and no other member to join")
    return Member(name, group, folder, client_port, joins)


def named_url(text: str, option: str) -> tuple[str, str]:
    """Of one member. Raises `InvalidRequestError`."""
    found, *more = parsed(text, option).items()
    if more:
        raise _refused(option, "it names more than one member")
    return found


def parsed(text: str, option: str) -> dict[str, str]:
    """The URLs of `NAME=URL,NAME=URL` by name. Raises `InvalidRequestError`."""
    found: dict[str, str] = {}
    for one in text.split(","):
        match = re.fullmatch(_NAMED_URL, one.strip())
        if match is None or not 0 < int(match[4]) < 65_536:
            shown = "one with a user" if "@" in one else repr(one.strip())  # a password may stand there
            raise _refused(option, f"{shown} is not NAME=http://HOST:PORT")
        name, scheme, host, port = match.groups()
        if scheme == "https":
            raise InvalidRequestError(
                f"{option} cannot be used",
                why="members do not encrypt what they tell each other: https:// would promise too much",
                next_step="write http://, and let them hear each other over a network of their own (a VPN)",
            )
        url = f"http://{host}:{port}"
        if name in found or url in found.values():
            raise _refused(option, f"{name if name in found else url} is there twice")
        found[name] = url
    return found


def etcd_words(plan: Member) -> list[str]:
    """What stands behind `etcd` on its command line."""
    port = urlsplit(plan.peer_url).port
    options = {
        "name": plan.name,
        "data-dir": str(plan.folder),
        "listen-peer-urls": f"http://{_listens_on(plan.peer_host)}:{port}",
        "initial-advertise-peer-urls": plan.peer_url,
        "listen-client-urls": plan.client_url,
        "advertise-client-urls": plan.client_url,
        "initial-cluster": as_text(plan.group),
        "initial-cluster-state": "existing" if plan.joins else "new",
        "initial-cluster-token": _TOKEN,
        "auto-compaction-retention": "1h",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def restore_words(plan: Member, snapshot: Path, digest: str) -> list[str]:
    """What stands behind `etcdutl` where a snapshot becomes the data of this member.

    digest: of the snapshot. It makes a group of its own, with which members of the lost one, should they come
    back with what they had, have nothing to do even where names and addresses are the same.
    Its revisions go on far behind those of the group that was lost, so that a coordinator that has seen that
    one takes nothing that it remembers for what is stored now.
    """
    options = {
        "name": plan.name,
        "data-dir": str(plan.folder),
        "initial-advertise-peer-urls": plan.peer_url,
        "initial-cluster": as_text(plan.group),
        "initial-cluster-token": f"{_TOKEN}-{digest}",
        "bump-revision": "1000000000",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return ["snapshot", "restore", str(snapshot), *words, "--mark-compacted"]


def as_text(group: Mapping[str, str]) -> str:
    return ",".join(f"{name}={url}" for name, url in group.items())


def _listens_on(host: str) -> str:
    """etcd listens on addresses alone; and on the machine itself a name may lead to the loopback."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "0.0.0.0"
    return f"[{address}]" if address.version == 6 else str(address)


def _refused(option: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{option} cannot be used",
        why=why,
        next_step=f"write it as {_EXAMPLE.partition(',')[0]}"
        if option == "--member"
        else f"write it as {_EXAMPLE}, the same on all machines",
    )


def is_of_this_machine_alone(peer_url: str) -> bool:
    """Whether nobody else reaches a member there."""
    host = urlsplit(peer_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
