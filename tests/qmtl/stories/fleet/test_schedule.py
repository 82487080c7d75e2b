"""The faults that a fleet meets follow from their seed alone, and leave each part some time to be well."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.qmtl.stories.fleet.schedule import FAULTS, schedule

PARTS = [
    *(("etcd", number) for number in range(3)),
    *(("worker", number) for number in range(4)),
    *((kind, 0) for kind in FAULTS if kind not in ("etcd", "worker")),
]


@given(st.integers(0, 2**32), st.integers(0, 200))
def test_a_seed_gives_the_same_faults_each_time(seed: int, faults: int) -> None:
    planned = schedule(seed, faults, PARTS)
    assert planned == schedule(seed, faults, PARTS)
    assert len(planned) == faults
    for part in PARTS:
        of_part = [one for one in planned if (one.part, one.number) == part]
        for before, after in pairwise(of_part):
            assert before.at + before.lasts <= after.at


def test_another_seed_gives_others_and_every_kind_is_among_them() -> None:
    planned = schedule(1, 400, PARTS)
    assert planned != schedule(2, 400, PARTS)
    assert planned == sorted(planned)
    met = {(one.part, one.how) for one in planned}
    assert met == {(part, how) for part, hows in FAULTS.items() for how in hows}
    assert {(one.part, one.number) for one in planned} == set(PARTS)
