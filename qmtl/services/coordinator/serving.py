"""A coordinator as a running server: credentials, what its leases are kept in, and socket, in that order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError
from qmtl.runtime.coordination.lease_choice import leases_of
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.io.store.contract import Fencing
from qmtl.services.coordinator.member.plan import Member

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from qmtl.services.http.access import Credentials
    from qmtl.services.http.serving import Place

    OpenStore: TypeAlias = Callable[[], AbstractContextManager[Fencing]]
    OpenApp: TypeAlias = Callable[[Credentials | None], AbstractContextManager[ASGIApp]]


def serve_coordinator(
    behind: str | OpenStore | Member,
    *,
    host: str,
    port: int,
    auth: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    unprotected: bool,
    ready: Callable[[str], None],
    etcd_program: Path | None = None,
    waiting: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with the address once connections are taken.

    behind: the URLs of the members of an etcd, with commas between; or what opens the store of this machine,
    whose leases are then kept in this process alone; or a member of an etcd that is kept running here.
    unprotected: other machines may come in without credentials or TLS. etcd_program, waiting: of a member,
    see `served_member`. Needs `qmtl[services]`.
    """
    try:
        import fastapi  # noqa: F401 - is it there?
        import hpack  # noqa: F401
        import httptools  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as missing:
        raise MissingDependencyError(str(missing.name), extra="services") from missing
    from qmtl.services.http.serving import Place, serve_guarded

    place = Place(host, port, tls_cert, tls_key)
    if isinstance(behind, str):
        open_app = _before_etcd(etcd_urls(behind))
    elif isinstance(behind, Member):
        from qmtl.services.coordinator.member.serving import serve_member

        serve_member(
            behind,
            place,
            auth=auth,
            unprotected=unprotected,
            ready=ready,
            program=etcd_program,
            waiting=waiting,
        )
        return
    else:
        _refuse_others(place)
        open_app = _of_store(behind)
    serve_guarded(open_app, place, auth=auth, unprotected=unprotected, ready=ready)


def _refuse_others(place: Place) -> None:
    if not place.is_loopback:
        raise InvalidRequestError(
            f"an embedded coordinator is of this machine alone, and others can reach {place.host}",
            why="other machines do not see the locks that it takes, and it is lost with its process",
            next_step="serve on 127.0.0.1; or keep leases for several machines in etcd: --etcd URL",
        )


def _before_etcd(urls: list[str]) -> OpenApp:
    from qmtl.services.coordinator.admission import admit
    from qmtl.services.coordinator.app import make_app
    from qmtl.services.coordinator.etcd import Etcd

    async def check() -> None:
        members = Etcd(urls)
        try:
            await admit(members)
        finally:
            await members.close()

    @contextmanager
    def open_coordinator(credentials: Credentials | None) -> Iterator[ASGIApp]:
        asyncio.run(check())
        yield make_app(Etcd(urls), credentials=credentials)

    return open_coordinator


def _of_store(open_store: OpenStore) -> OpenApp:
    from qmtl.services.coordinator.app import make_app
    from qmtl.services.coordinator.memory_keys import MemoryKeys

    @contextmanager
    def open_coordinator(credentials: Credentials | None) -> Iterator[ASGIApp]:
        with open_store() as store:
            locks = leases_of(store)
            if not isinstance(locks, LocalLeases):
                raise InvalidRequestError("a store in the memory of a process has nothing to coordinate")
            yield make_app(MemoryKeys(), stores={store.place_id: locks}, credentials=credentials)

    return open_coordinator


def etcd_urls(text: str) -> list[str]:
    """The URLs in a text with commas. Raises `InvalidRequestError`; a password is shown nowhere."""
    urls = [url.strip() for url in text.split(",") if url.strip()]
    for url in urls or [""]:
        if not re.fullmatch(r"https?://[^/@\s]+/?", url):
            raise InvalidRequestError(
                "the addresses of etcd cannot be used",
                why="one of them is not http://HOST:PORT or https://HOST:PORT, without a user",
                next_step="write --etcd http://etcd-1:2379,http://etcd-2:2379,http://etcd-3:2379",
            )
    return urls
