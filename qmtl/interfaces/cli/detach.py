"""`--detach`: queue what is wanted for workers, and wait for nothing."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING, Any

from qmtl.interfaces.cli.fleet import asked, coordinator_of
from qmtl.interfaces.cli.session import Session, instant

if TYPE_CHECKING:
    from qmtl.runtime.coordination.job_plans import WantedRange
    from qmtl.runtime.io.store.contract import Store
    from qmtl.runtime.sdk.provider import SeamlessDataProvider
    from qmtl.runtime.worlds.world import World


def detach_backfill(session: Session, names: list[str], start: str, end: str) -> None:
    """Queue a job, and say its id. Bars that have not closed are left out."""
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.series import SeriesId
    from qmtl.foundation.timeline import Span
    from qmtl.foundation.times import iso, to_ns
    from qmtl.runtime.coordination.job_plans import WantedRange

    now = SystemClock().now()
    first, last = to_ns(instant(start), name="start"), min(to_ns(instant(end), name="end"), now)
    if first >= last:
        raise InvalidRequestError(
            "there is nothing to queue",
            why=f"the range that has passed is [{iso(first)}, {iso(last)}), which is empty",
            next_step="give a START before the END, and before now",
        )
    series = [SeriesId.parse(name).text for name in dict.fromkeys(names)]
    with session.open_store(make=True) as store:
        _queue(session, store, [WantedRange(name, Span(first, last)) for name in series])


def detach_world(session: Session, provider: SeamlessDataProvider, world: World) -> None:
    """Queue what the histories of a world lack, if anything."""
    from qmtl.runtime.coordination.coordinated import refuse_unshared
    from qmtl.runtime.sdk.world_queue import ranges_of_world

    refuse_unshared(provider.store, coordinator_of(session)[0])  # before anything is declared
    ranges = ranges_of_world(provider, world)
    if ranges:
        _queue(session, provider.store, ranges)
    else:
        session.show(f"nothing is queued: the store has all that {world.id} asks for")
        session.emit(None)


def _queue(session: Session, store: Store, ranges: list[WantedRange]) -> None:
    from qmtl.foundation.clock import SystemClock
    from qmtl.foundation.times import iso
    from qmtl.foundation.words import counted
    from qmtl.runtime.coordination.coordinated import refuse_unshared

    refuse_unshared(store, coordinator_of(session)[0])
    now = iso(SystemClock().now())[:19].replace("-", "").replace(":", "")
    job, store_id = f"{now}-{os.urandom(3).hex()}", store.place_id
    found: dict[str, Any] = asked(
        session, lambda client: client.queue(job, store_id=store_id, by=_somebody(), ranges=ranges)
    )
    series = len({one.series for one in ranges})
    session.show(
        f"queued as {job}: {counted(found['shards'], 'shard')} of "
        f"{counted(series, 'series', 'series')}; 'qmtl jobs' shows how far it is"
    )
    session.emit(found)


def _somebody() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:200]
