"""Which stores a coordinator can be for, and where it may be then."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from qmtl import SeamlessDataProvider
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.observability.metrics import Metrics
from qmtl.runtime.coordination.coordinated import coordinated_leases, is_of_this_machine
from qmtl.runtime.coordination.fallback_leases import FallbackLeases
from qmtl.runtime.io.store.memory import MemoryStore

# RFC 5737: nobody has this address.
ELSEWHERE = "http://192.0.2.7:8090"


def leases_for(store: Any, url: str) -> FallbackLeases | None:
    return coordinated_leases(store, url, token=None, metrics=Metrics(CollectorRegistry()))


def store_at(location: str, shard_steps: int = 10_000) -> Any:
    return SimpleNamespace(location=location, folder=Path("/nowhere"), shard_steps=shard_steps)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.7", "localhost", "::1"])
def test_addresses_of_this_machine(host: str) -> None:
    assert is_of_this_machine(host)


def test_its_own_address_in_a_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.7", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        own = probe.getsockname()[0]
    assert is_of_this_machine(own)


@pytest.mark.parametrize("host", ["192.0.2.7", "no.such.host.invalid", "2001:db8::7"])
def test_addresses_of_others(host: str) -> None:
    assert not is_of_this_machine(host)


def test_a_folder_with_a_coordinator_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="a folder of this one") as refused:
        SeamlessDataProvider(tmp_path / "bars", coordinator=ELSEWHERE)
    assert "do not see the folder" in (refused.value.why or "")
    assert isinstance(leases_for(store_at("postgresql://me@db/bars"), ELSEWHERE), FallbackLeases)
    assert isinstance(leases_for(store_at("/bars"), "http://localhost:8090"), FallbackLeases)


def test_a_store_in_memory_needs_none() -> None:
    assert leases_for(MemoryStore(), ELSEWHERE) is None


def test_a_store_of_another_grid_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="5,000 bars, and coordinators cut 10,000"):
        leases_for(store_at("/bars", shard_steps=5_000), "http://localhost:8090")


@pytest.mark.parametrize("url", ["coordinator:8090", "http://", "http://user:secret@host"])
def test_what_is_no_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="not the URL of a coordinator") as refused:
        leases_for(store_at("/bars"), url)
    assert "secret" not in str(refused.value)
