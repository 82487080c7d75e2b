"""The members of a group of etcd: who they are, and how one comes or goes."""

from __future__ import annotations

from typing import Any, NamedTuple

from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.services.coordinator.member.gateway import asked, version_of

_LOOK = "'qmtl coordinator members' lists them"


class MemberState(NamedTuple):
    """name: empty before it has run. version: as it answers now at its peer URL; None if it does not."""

    id: int
    name: str
    peer_url: str
    version: str | None
    leads: bool


def members(url: str) -> list[MemberState]:
    """Of the group that the etcd at `url` is of, in the order of their names.

    Raises `CoordinatorUnavailableError`, also where there is no majority that could say so.
    """
    found = asked(url, "cluster/member/list", {"linearizable": True}, next_step=_LOOK)["members"]
    leader = asked(url, "maintenance/status", {}, next_step=_LOOK).get("leader")
    states = [
        MemberState(
            int(one["ID"]),
            one.get("name", ""),
            one["peerURLs"][0],
            _version(one["peerURLs"][0]),
            one["ID"] == leader,
        )
        for one in found
    ]
    return sorted(states, key=lambda one: (one.name, one.id))


def add(url: str, name: str, peer_url: str) -> dict[str, str]:
    """Tell the group of a member that is to join; the whole group then, by name.

    Raises `InvalidRequestError` for a name or an address that is there.
    """
    before = members(url)
    waiting = [one for one in before if not one.name]
    if waiting:
        raise InvalidRequestError(
            f"a member is awaited at {waiting[0].peer_url}, and has not come yet",
            next_step=f"start it, or take it back: qmtl coordinator remove {waiting[0].peer_url}",
        )
    if any(one.name == name for one in before):
        raise InvalidRequestError(
            f"there is a member {name}",
            next_step=f"name the new one otherwise, or first: qmtl coordinator remove {name}",
        )
    asked(url, "cluster/member/add", {"peerURLs": [peer_url]}, next_step=_LOOK)
    return {one.name: one.peer_url for one in before} | {name: peer_url}


def remove(url: str, which: str) -> MemberState:
    """Let a member go, by its name, or by its peer URL; it cannot come back with the data that it has."""
    before = members(url)
    found = [one for one in before if which in (one.name, one.peer_url)]
    if not found:
        raise InvalidRequestError(
            f"there is no member {which}",
            why=f"there are {', '.join(one.name or one.peer_url for one in before)}",
            next_step="name one of them; one that has not come yet has no name, and goes by its URL",
        )
    if len(before) == 1:
        raise InvalidRequestError(
            f"{which} is the only member", next_step="end its coordinator, and delete its data"
        )
    (gone,) = found
    answer: Any = asked(url, "cluster/member/remove", {"ID": str(gone.id)}, next_step=_LOOK)
    assert all(int(one["ID"]) != gone.id for one in answer["members"])
    return gone


def _version(peer_url: str) -> str | None:
    try:
        return version_of(peer_url)
    except CoordinatorUnavailableError:
        return None
