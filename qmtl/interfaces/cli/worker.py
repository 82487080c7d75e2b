"""`qmtl worker`: fill the shards of jobs that are queued with the coordinator."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from qmtl.interfaces.cli.fleet import coordinator_of
from qmtl.interfaces.cli.session import session_of

# What may match the name of a venue: its letters, and what stands for some of them.
_PATTERN = re.compile(r"(?:[A-Za-z0-9_.*?-]|\[!?[^]!][^]]*\])+")


def worker(
    ctx: typer.Context,
    venues: Annotated[
        str, typer.Option(metavar="PATTERN", help="Take shards of these venues alone: binance*.")
    ] = "*",
    slots: Annotated[int, typer.Option(metavar="N", help="How many shards at a time.", min=1, max=64)] = 2,
    metrics_port: Annotated[
        int | None,
        typer.Option(metavar="P", help="Show metrics here; 0 takes a free port.", min=0, max=65_535),
    ] = None,
) -> None:
    """Fill the shards of queued jobs, until it is stopped.

    It uses the store and the vendors of the settings, and needs a coordinator. On SIGTERM or Ctrl-C it takes
    nothing more, ends what it is at within 20 seconds or gives it back, and exits with 0. What a worker that
    is killed was at is taken by another. Metrics are shown on this machine alone (127.0.0.1).
    """
    import asyncio

    from qmtl.foundation.errors import InvalidRequestError, StoreError
    from qmtl.foundation.observability.metrics import Metrics
    from qmtl.runtime.coordination.coordinator_client import CoordinatorClient
    from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
    from qmtl.runtime.sdk.from_settings import provider_options
    from qmtl.runtime.sdk.provider import SeamlessDataProvider
    from qmtl.runtime.sdk.stores import is_store
    from qmtl.runtime.sdk.worker import Worker

    if not _PATTERN.fullmatch(venues):
        raise InvalidRequestError(
            f"--venues {venues!r} matches no venue",
            why="names of venues hold letters, digits, '_', '.' and '-' only, "
            "and a pattern beside them '*', '?' and [...]",
            next_step="write one name or pattern, such as binance*; for several venues start several workers",
        )
    session = session_of(ctx)
    settings, (url, token) = session.settings(), coordinator_of(session)
    store = settings.seamless.store
    is_new = not is_store(store.expanduser() if isinstance(store, Path) else store)
    if is_new and isinstance(store, Path):
        # Whoever queued jobs for a store of this machine has made it: there are none for this one.
        raise StoreError(
            "there is no store yet",
            path=store,
            next_step="name another with --store DIR; 'qmtl backfill --detach' makes one as it queues a job",
        )
    leases = DistributedBackfillCoordinator(url, token=token)
    options = provider_options(settings) | {"coordinator": leases, "coordinator_token": None}
    address = None if metrics_port is None else _shown_metrics(metrics_port)

    async def run(provider: SeamlessDataProvider) -> None:
        stopping, client = asyncio.Event(), CoordinatorClient(url, token)
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, stopping.set)
        work = Worker(provider, leases, client, Metrics(), venues=venues, slots=slots)
        if is_new:
            session.note(f"there was no store at {store} yet, and now there is one, without any bars")
        session.show(f"worker {work.name} takes shards from {client.url}")
        if address is not None:
            session.show(f"its metrics are at {address}")
        session.emit({"worker": work.name, "coordinator": client.url, "metrics": address})
        sys.stdout.flush()
        try:
            await work.run(stopping)
        finally:
            await client.close()

    try:
        with SeamlessDataProvider(**options, progress=False) as provider:
            asyncio.run(run(provider))
    finally:
        leases.close()


def _shown_metrics(port: int) -> str:
    from prometheus_client import start_http_server

    from qmtl.foundation.errors import InvalidRequestError

    try:
        server, _ = start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise InvalidRequestError(
            f"metrics cannot be shown on port {port}", why=error.strerror, next_step="name another, or 0"
        ) from error
    return f"http://127.0.0.1:{server.server_port}/metrics"
