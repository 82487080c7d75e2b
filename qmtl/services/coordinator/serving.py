"""A coordinator as a running server: credentials, etcd and socket, in that order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from qmtl.services.http.access import Credentials


def serve_coordinator(
    etcd: str,
    *,
    host: str,
    port: int,
    auth: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    unprotected: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called with the address once connections are taken.

    etcd: the URLs of its members, with commas between. unprotected: other machines may come in without
    credentials or TLS. Needs `qmtl[services]`.
    """
    try:
        import aiohttp  # noqa: F401 - is it there?
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as missing:
        raise MissingDependencyError(str(missing.name), extra="services") from missing
    from qmtl.services.coordinator.admission import admit
    from qmtl.services.coordinator.app import make_app
    from qmtl.services.coordinator.etcd import Etcd
    from qmtl.services.http.serving import Place, serve_guarded

    urls = etcd_urls(etcd)

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

    place = Place(host, port, tls_cert, tls_key)
    serve_guarded(open_coordinator, place, auth=auth, unprotected=unprotected, ready=ready)


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
