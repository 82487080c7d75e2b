"""The coordinator's leases where it answers, this machine's where it does not, and each grant says which."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from qmtl.foundation.errors import CoordinatorUnavailableError, LeaseError
from qmtl.foundation.leases import ShardProgress
from qmtl.foundation.observability.metrics import Metrics
from qmtl.runtime.coordination.fallback_leases import FallbackLeases
from qmtl.runtime.coordination.memory_leases import MemoryLeases
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, Held, ShardRequest
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.lease_suite import SERIES, Connect, LeaseSuite, granted, request


class Distant(MemoryLeases):
    """Leases that may be out of reach, or refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.asked = 0
        self.closed = False

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return await super().claim(requests, claim_id=claim_id)

    def close(self) -> None:
        self.closed = True


AWAY = CoordinatorUnavailableError("the coordinator does not answer", url="http://c", why="refused")


class Scene:
    def __init__(self) -> None:
        self.distant, self.local, self.clock = Distant(), MemoryLeases(), FakeClock()
        self.registry = CollectorRegistry()
        self.leases = FallbackLeases(self.distant, self.local, Metrics(self.registry), self.clock)

    def claim(self, shard: int, claim_id: str) -> Claimed:
        (answer,) = asyncio.run(self.leases.claim([request(shard)], claim_id=claim_id))
        return answer

    @property
    def counted(self) -> float | None:
        return self.registry.get_sample_value("seamless_uncoordinated_claims_total", {"node_id": SERIES})


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("failure", [None, AWAY])
class TestFallbackLeases(LeaseSuite):
    @property
    def remembers(self) -> bool:  # type: ignore[override]
        return True

    @pytest.fixture
    def connect(self, failure: Exception | None) -> Connect:
        scene = Scene()
        scene.distant.failure = failure
        return lambda: scene.leases


def test_what_this_machine_grants_says_so_and_is_counted(scene: Scene) -> None:
    assert scene.claim(1, "one") == Granted(request(1).key, "one")
    scene.distant.failure = AWAY
    alone = scene.claim(2, "one")
    assert isinstance(alone, Granted)
    assert alone.uncoordinated == "the coordinator does not answer: refused"
    assert scene.counted == 1
    assert isinstance(scene.claim(2, "two"), Held)
    assert scene.counted == 1, "nothing was claimed"


def test_it_is_asked_again_after_a_pause(scene: Scene) -> None:
    scene.distant.failure = AWAY
    scene.claim(1, "one")
    scene.distant.failure = None
    scene.claim(2, "one")
    assert scene.distant.asked == 1
    scene.clock.advance(2)
    assert scene.claim(3, "one") == Granted(request(3).key, "one")
    assert scene.claim(4, "one") == Granted(request(4).key, "one"), "without another pause"


def test_what_it_refuses_is_no_reason_to_go_on_alone(scene: Scene) -> None:
    scene.distant.failure = LeaseError("the coordinator refuses with HTTP 401", lease_key="x")
    with pytest.raises(LeaseError, match="401"):
        scene.claim(1, "one")
    assert scene.counted is None


def test_each_grant_ends_where_it_began(scene: Scene) -> None:
    coordinated = scene.claim(1, "one")
    scene.distant.failure = AWAY
    grants = granted([coordinated, scene.claim(2, "one")])
    scene.leases.still_held(grants)
    asyncio.run(scene.leases.renew(grants, ShardProgress(1, 2)))
    asyncio.run(scene.leases.complete(grants, as_of=50))
    for ended in grants:
        with pytest.raises(LeaseError):
            scene.leases.still_held([ended])
    third = granted([scene.claim(3, "two")])
    asyncio.run(scene.leases.fail(third, why="given up"))
    assert isinstance(scene.claim(3, "three"), Granted)
    scene.leases.close()
    assert scene.distant.closed
