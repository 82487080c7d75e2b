"""A registry as a running server: credentials, storage and socket, in that order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from qmtl.foundation.errors import MissingDependencyError


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
    """Serve until SIGTERM or SIGINT; `ready` is told the address once connections are taken.

    unprotected: other machines may come in without credentials or TLS. Needs `qmtl[services]`.
    """
    try:
        import fastapi  # noqa: F401 - is it there?
        import uvicorn  # noqa: F401
    except ImportError as missing:
        raise MissingDependencyError(str(missing.name), extra="services") from missing
    from qmtl.services.http.access import Credentials
    from qmtl.services.http.serving import Place, refuse_exposure, serve
    from qmtl.services.registry.app import make_app
    from qmtl.services.registry.sqlite import SqliteStorage

    place = Place(host, port, tls_cert, tls_key)
    credentials = None if auth is None else Credentials.read(auth)
    if not unprotected:
        refuse_exposure(place, has_credentials=credentials is not None)
    with closing(SqliteStorage(store)) as storage:
        serve(make_app(storage, credentials=credentials), place, ready=ready)
