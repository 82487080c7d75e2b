"""A registry as a running server: credentials, storage and socket, in that order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qmtl.foundation.errors import MissingDependencyError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from qmtl.services.http.access import Credentials


def serve_registry(
    store: Path,
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

    unprotected: other machines may come in without credentials or TLS. Needs `qmtl[services]`.
    """
    try:
        import fastapi  # noqa: F401 - is it there?
        import uvicorn  # noqa: F401
    except ImportError as missing:
        raise MissingDependencyError(str(missing.name), extra="services") from missing
    from qmtl.services.http.serving import Place, serve_guarded
    from qmtl.services.registry.app import make_app
    from qmtl.services.registry.sqlite import SqliteStorage

    @contextmanager
    def open_registry(credentials: Credentials | None) -> Iterator[ASGIApp]:
        with closing(SqliteStorage(store)) as storage:
            yield make_app(storage, credentials=credentials)

    place = Place(host, port, tls_cert, tls_key)
    serve_guarded(open_registry, place, auth=auth, unprotected=unprotected, ready=ready)
