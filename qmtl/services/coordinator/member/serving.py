"""A coordinator with a member of etcd of its own: both begin, and end, together."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.types import ASGIApp

from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError
from qmtl.foundation.observability.log import coordinator_log
from qmtl.services.coordinator.admission import admit
from qmtl.services.coordinator.app import make_app
from qmtl.services.coordinator.etcd import Etcd
from qmtl.services.coordinator.member.child import EtcdChild
from qmtl.services.coordinator.member.plan import Member, etcd_words
from qmtl.services.coordinator.member.programs import etcd_program
from qmtl.services.http.access import Credentials
from qmtl.services.http.serving import Place, serve_guarded

_ASK_EVERY_S = 0.25
# A person is told what is waited for after so long.
_TELL_AFTER_S = 3.0


class _Stopped(Exception):
    """A signal came before there was anything to serve."""


def serve_member(
    plan: Member,
    place: Place,
    *,
    auth: Path | None,
    unprotected: bool,
    ready: Callable[[str], None],
    program: Path | None,
    waiting: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT, or until the etcd does not keep running: `CoordinatorUnavailableError`.

    program: of etcd; None for that in PATH. waiting: is told, once, what is waited for, where there is no
    majority of the group for some seconds; it may take as long as it takes.
    """
    words = [str(etcd_program(program)), *etcd_words(plan)]
    if not (unprotected or Place(plan.peer_host, 0).is_loopback):
        raise InvalidRequestError(
            f"others can reach {plan.peer_url}, where members hear each other without credentials or TLS",
            why="who can send there can change what the group has stored",
            next_step="let them hear each other over a network of their own (a VPN), and say --unprotected",
        )
    try:
        plan.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidRequestError(
            f"{plan.folder} cannot be made", why=error.strerror, next_step="name another --data-dir"
        ) from error
    stopping = threading.Event()

    def end() -> None:
        """As a signal would, in whichever state the service is."""
        os.kill(os.getpid(), signal.SIGTERM)

    with _signals(stopping.set):
        child = EtcdChild(words, url=plan.client_url, on_given_up=end)

        @contextmanager
        def open_app(credentials: Credentials | None) -> Iterator[ASGIApp]:
            asyncio.run(_admitted(plan, child, stopping, waiting))
            yield make_app(Etcd([plan.client_url]), credentials=credentials)

        try:
            serve_guarded(open_app, place, auth=auth, unprotected=unprotected, ready=ready)
        except _Stopped:
            pass
        finally:
            child.close()
        if child.failure is not None:
            raise child.failure


async def _admitted(
    plan: Member, child: EtcdChild, stopping: threading.Event, waiting: Callable[[str], None]
) -> None:
    """Return when the group can be served from. Raises `InvalidRequestError` where it must not be."""
    etcd = Etcd([plan.client_url])
    asked = 0
    try:
        while True:
            try:
                return await admit(etcd)
            except CoordinatorUnavailableError as error:
                if stopping.is_set():
                    raise _Stopped from error
                asked += 1
                if asked == int(_TELL_AFTER_S / _ASK_EVERY_S):
                    coordinator_log.warning("member.waiting", error=error.why)
                    why = error.why or error.what
                    waiting(f"{plan.name} waits for a majority of {', '.join(plan.group)}: {why}")
            await asyncio.sleep(_ASK_EVERY_S)
    finally:
        await etcd.close()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT stop what runs here, where nobody else takes them. Needs the main thread."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
