"""The leases of a store where there is a coordinator, and the stores for which there can be none."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.local_paths import names_server
from qmtl.foundation.observability.metrics import Metrics
from qmtl.runtime.coordination.distributed import DistributedBackfillCoordinator
from qmtl.runtime.coordination.fallback_leases import FallbackLeases
from qmtl.runtime.coordination.lease_choice import leases_of
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.fencing import SHARD_STEPS


def coordinated_leases(
    store: Store, coordinator: str | DistributedBackfillCoordinator, *, token: str | None, metrics: Metrics
) -> FallbackLeases | None:
    """Of the coordinator (an object, or its URL), and of this machine while it does not answer.

    None for a store in the memory of this process, which nobody else has. Raises `InvalidRequestError` for a
    store that the workers of the coordinator do not share.
    """
    if isinstance(coordinator, str):
        coordinator = DistributedBackfillCoordinator(coordinator, token=token)
    if store.folder is None:
        return None
    refuse_unshared(store, coordinator.url)
    return FallbackLeases(coordinator, leases_of(store), metrics)


def refuse_unshared(store: Store, url: str) -> None:
    """Raises `InvalidRequestError` for a store that the workers of the coordinator at `url` do not share."""
    host = urlsplit(url).hostname or ""
    if not names_server(store.location) and not is_of_this_machine(host):
        raise InvalidRequestError(
            f"the coordinator at {host} is of another machine, and the store is a folder of this one",
            why="its other workers do not see the folder, so that nothing that one of them fetches is found "
            "by another",
            next_step="give a store that all machines share, such as postgresql://...; or leave the "
            "coordinator out",
        )
    if store.shard_steps != SHARD_STEPS:
        raise InvalidRequestError(
            f"the store cuts shards of {store.shard_steps:,} bars, and coordinators cut {SHARD_STEPS:,}",
            next_step="leave the coordinator out",
        )


def is_of_this_machine(host: str) -> bool:
    """Whether the name or address leads to this machine alone."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False  # nobody knows where it leads
    return all(
        ipaddress.ip_address(address.partition("%")[0]).is_loopback or _is_own(address) for address in found
    )


def _is_own(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
