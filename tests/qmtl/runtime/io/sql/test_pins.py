"""What is pinned stays readable exactly as it was, however often the store is swept."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import ClassVar

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from polars.testing import assert_frame_equal

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Coverage
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.store.values import Snapshot, Write
from qmtl.runtime.testing.store_model import SERIES
from qmtl.runtime.testing.store_suites.bars import minutes, some_bars
from tests.qmtl.runtime.io.sql.hand_clock import HandClock

pytestmark = pytest.mark.usefixtures("small_chunks")

EVERYTHING = minutes(-1, 100)


def write(first: int, count: int, price: float = 1.0) -> Write:
    reach = Coverage.of(minutes(first, first + count))
    return Write("v", 1, some_bars(first, count, price=price), reach)


def same(one: Snapshot, other: Snapshot) -> bool:
    return (
        one.frame.equals(other.frame)
        and list(one.answers) == list(other.answers)
        and (one.tx, one.as_of) == (other.tx, other.as_of)
    )


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(new_store: Callable[..., KeptStore], clock: HandClock) -> KeptStore:
    return new_store(clock=clock, retention=100)


def test_a_sweep_leaves_what_is_pinned_until_it_is_released(store: KeptStore, clock: HandClock) -> None:
    store.commit(SERIES, write(0, 20))
    store.declare(SERIES, SeriesFacts(calendar="XNYS"))
    before = store.read(SERIES, EVERYTHING)
    pin = store.pin("paper")
    assert pin.as_of == before.as_of
    store.commit(SERIES, write(0, 20, price=2.0))
    between = store.read(SERIES, EVERYTHING).as_of
    store.declare(SERIES, SeriesFacts(calendar="FX"))
    store.commit(SERIES, write(5, 20, price=3.0))
    clock.time += 10_000
    store.compact()
    assert same(store.read(SERIES, EVERYTHING, as_of=pin.as_of), before)
    assert store.diff(SERIES, pin.as_of, clock.time).height == 25
    for other in (between, pin.as_of - 1):
        with pytest.raises(StoreError, match="no longer knows"):
            store.read(SERIES, EVERYTHING, as_of=other)
    newest = store.read(SERIES, EVERYTHING).as_of
    assert [one.as_of for one in store.commits(SERIES)] == [newest], "what a sweep took is not listed"
    assert store.unpin("paper") == pin
    assert store.pins() == []
    with pytest.raises(StoreError, match="no longer knows"):
        store.read(SERIES, EVERYTHING, as_of=pin.as_of)
    assert store.compact().swept > 0
    assert store.info().old_versions == 0


def test_a_pin_has_one_name_and_a_name_has_one_pin(store: KeptStore, clock: HandClock) -> None:
    with pytest.raises(InvalidRequestError, match="nothing to pin"):
        store.pin("early")
    first = store.commit(SERIES, write(0, 2)).as_of
    second = store.commit(SERIES, write(2, 2)).as_of
    pin = store.pin("one", as_of=first)
    assert store.pin("one", as_of=first) == pin == store.pins()[0]
    with pytest.raises(InvalidRequestError, match="holds another commit"):
        store.pin("one")
    with pytest.raises(InvalidRequestError, match="in the future"):
        store.pin("late", as_of=second + 10_000)
    with pytest.raises(InvalidRequestError, match="needs a name"):
        store.pin(" ")
    with pytest.raises(InvalidRequestError, match="no pin 'two'"):
        store.unpin("two")
    clock.time += 10_000
    store.compact()
    assert store.pin("again", as_of=first).tx == pin.tx, "what is pinned can be pinned once more"


def test_a_store_is_cut_into_shards_as_it_was_made(place: str, script: ModuleType) -> None:
    with script.opened(place) as store, store._database.writing() as connection:
        connection.execute("UPDATE setting SET value = 77 WHERE name = 'shard_steps'")
        connection.execute("COMMIT")
    with script.opened(place) as store:
        assert store.shard_steps == 77


class PinMachine(RuleBasedStateMachine):
    """Commits, pins, releases and sweeps in any order, beside what each pin showed when it was set."""

    new_store: ClassVar[Callable[..., KeptStore]]

    @initialize()
    def begin(self) -> None:
        self.clock = HandClock()
        self.store = PinMachine.new_store(clock=self.clock, retention=3)
        self.pinned: dict[str, Snapshot] = {}
        self.newest = pl.DataFrame()

    @rule(first=st.integers(0, 40), count=st.integers(1, 20), price=st.sampled_from([1.0, 2.0]))
    def commit(self, first: int, count: int, price: float) -> None:
        self.store.commit(SERIES, write(first, count, price))
        self.newest = self.store.read(SERIES, EVERYTHING).frame

    @rule(calendar=st.sampled_from(["XNYS", "FX"]))
    def declare(self, calendar: str) -> None:
        self.store.declare(SERIES, SeriesFacts(calendar=calendar))
        self.newest = self.store.read(SERIES, EVERYTHING).frame

    @precondition(lambda self: self.store.newest().tx)
    @rule(name=st.sampled_from("abc"))
    def pin(self, name: str) -> None:
        if name not in self.pinned:
            self.pinned[name] = self.store.read(SERIES, EVERYTHING)
            assert self.store.pin(name).as_of == self.pinned[name].as_of

    @rule(name=st.sampled_from("abc"))
    def unpin(self, name: str) -> None:
        if self.pinned.pop(name, None) is not None:
            self.store.unpin(name)

    @rule(passed=st.integers(0, 10))
    def sweep(self, passed: int) -> None:
        self.clock.time += passed
        self.store.compact()
        assert self.store.verify().is_sound

    @invariant()
    def pins_show_what_they_showed(self) -> None:
        if not hasattr(self, "store"):
            return
        for before in self.pinned.values():
            assert same(self.store.read(SERIES, EVERYTHING, as_of=before.as_of), before)
        if self.newest.height:
            assert_frame_equal(self.store.read(SERIES, EVERYTHING).frame, self.newest, check_exact=True)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_pins_show_what_they_showed_whatever_is_done(new_store: Callable[..., KeptStore]) -> None:
    PinMachine.new_store = staticmethod(new_store)
    run_state_machine_as_test(PinMachine, settings=settings(max_examples=30, stateful_step_count=20))
