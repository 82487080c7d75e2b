"""An application on a socket: from its first answer until a signal ends it."""

from __future__ import annotations

import ipaddress
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from qmtl.foundation.errors import InvalidRequestError
from qmtl.services.http.access import Credentials
from qmtl.services.http.connections import LIMITS, BoundedConnection, Limits

# Requests that run when a signal comes get so long to end.
_GRACE_S = 5
# The listening socket, the loop's own, and those of the application.
_OTHER_FILES = 64


class Place(NamedTuple):
    """Where to serve: port 0 is a free one. With a certificate and its key (PEM files), HTTPS."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def refuse_exposure(place: Place, *, has_credentials: bool) -> None:
    """Raise `InvalidRequestError` where others could come in, or listen."""
    missing = [
        *([] if has_credentials else ["credentials (--auth FILE)"]),
        *([] if place.tls_cert else ["TLS (--tls-cert FILE --tls-key FILE)"]),
    ]
    if missing and not place.is_loopback:
        raise InvalidRequestError(
            f"others can reach {place.host}, and the server has no {' and no '.join(missing)}",
            next_step="add that, serve on 127.0.0.1, or say --unprotected if something else protects it",
        )


def serve_guarded(
    open_app: Callable[[Credentials | None], AbstractContextManager[ASGIApp]],
    place: Place,
    *,
    auth: Path | None,
    unprotected: bool,
    ready: Callable[[str], None],
    limits: Limits = LIMITS,
) -> None:
    """Serve until SIGTERM or SIGINT, behind the credentials of the file `auth`; SIGHUP changes nothing.

    open_app: gives the application for as long as it serves; called when credentials, certificate and address
    have been found usable, so that what it makes is not left behind by a refusal.
    unprotected: other machines may come in without credentials or TLS; else `InvalidRequestError` is raised,
    as for a host, port or certificate that cannot be used. `ready` is called with the address once
    connections are taken. Needs the main thread.
    """
    credentials = None if auth is None else Credentials.read(auth)
    if not unprotected:
        refuse_exposure(place, has_credentials=credentials is not None)
    _refuse_certificate(place)
    with _bound(place) as listening, open_app(credentials) as app:
        _serve(app, place, listening, ready=ready, limits=limits)


def _refuse_certificate(place: Place) -> None:
    if (place.tls_cert is None) != (place.tls_key is None):
        raise InvalidRequestError("a certificate needs its key, and a key its certificate")
    if place.tls_cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place.tls_cert, place.tls_key)
    except OSError as failure:  # ssl.SSLError is one
        raise InvalidRequestError(
            "the certificate or its key cannot be used",
            why=str(failure),
            next_step="give PEM files: a certificate with its chain, and its own key, without a password",
        ) from failure


def _serve(
    app: ASGIApp,
    place: Place,
    listening: socket.socket,
    *,
    ready: Callable[[str], None],
    limits: Limits,
) -> None:
    config = uvicorn.Config(
        app,
        http=partial(BoundedConnection, limits=_within_files(limits)),  # type: ignore[arg-type]  # it is only called
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        ssl_certfile=place.tls_cert,
        ssl_keyfile=place.tls_key,
        timeout_graceful_shutdown=_GRACE_S,
    )
    _Server(config, lambda: ready(_address(place, listening))).run(sockets=[listening])


def _within_files(limits: Limits) -> Limits:
    """No more connections than this process may open files, with some left for all else."""
    try:
        import resource
    except ImportError:  # there is no such bound on Windows
        return limits
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits
    return limits._replace(connections=min(limits.connections, max(1, files - _OTHER_FILES)))


class _Server(uvicorn.Server):
    """Calls `ready` when it is ready, and ends by a signal without dying of it."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal once more at the end; what stands open behind it would stay open.
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        # A closed terminal, or who wants a file to be read anew: neither is a reason to end.
        if hasattr(signal, "SIGHUP"):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bound(place: Place) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError) as failure:
        raise InvalidRequestError(
            f"cannot serve on {place.host} port {place.port}",
            why=str(failure),
            next_step="choose another port (0 takes a free one), or an address of this machine",
        ) from failure
    return listening


def _address(place: Place, listening: socket.socket) -> str:
    scheme = "https" if place.tls_cert else "http"
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{scheme}://{host}:{listening.getsockname()[1]}"
