"""A writer is killed at any instant: what it acknowledged is there exactly, and nothing by half."""

import os
import random
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.testing.store_model import SERIES, STEP, ModelStore, State, answers_of, frame_rows
from tests.qmtl.questdb import QuestDBServer

ROUNDS = int(os.environ.get("QMTL_TEST_CRASH_ROUNDS", "100"))
ROUNDS_PER_STORE = 10
EVERYTHING = Span(-10 * STEP, 2_000 * STEP)


def known(store: Store, as_of: int | None = None) -> tuple[Any, ...]:
    """All that a store says of the series, in the model's words."""
    snapshot = store.read(SERIES, EVERYTHING, as_of=as_of)
    return frame_rows(snapshot.frame), list(snapshot.answers), store.facts(SERIES, as_of=as_of)


def expected(state: State) -> tuple[Any, ...]:
    return state.rows, answers_of(state.cells, EVERYTHING), state.facts


def apply(model: ModelStore, script: ModuleType, seed: int, number: int, as_of: int) -> None:
    step = script.operation(seed, number)
    if isinstance(step, SeriesFacts):
        model.declare(step, as_of)
    elif isinstance(step, Span):
        model.retract(step, as_of)
    elif step is not None:
        model.commit(step, as_of)


def survive(children: Any, script: ModuleType, place: str, batch: int, rounds: int, after_s: float) -> None:
    """A writer is killed so often, each time up to `after_s` after one of its first lines."""
    dice = random.Random(batch)
    model = ModelStore()
    acknowledged: list[tuple[int, tuple[Any, ...]]] = []  # times of commits, and what was known then
    for seed in range(batch * rounds, (batch + 1) * rounds):
        written = children.run_and_kill(
            ("write_until_killed", place, seed),
            lines=dice.randrange(12),
            after_s=dice.random() * after_s,
        )
        acks = [line.split() for line in written if line.startswith("ack")]
        assert [int(ack[1]) for ack in acks] == list(range(len(acks)))
        with script.opened(place) as store:
            for number in range(len(acks)):
                apply(model, script, seed, number, as_of=seed * 10_000 + number + 1)
            found = known(store)
            if found != expected(model.now):
                # The commit that was under way may have become durable before it could be acknowledged.
                apply(model, script, seed, len(acks), as_of=seed * 10_000 + len(acks) + 1)
            assert found == expected(model.now), f"seed {seed}, killed after {len(acks)} commits"
            verification = store.verify()
            assert verification.is_sound, verification
            last = store.read(SERIES, Span(0, 0))
            acknowledged.append((last.as_of, found))
            for as_of, then in dice.sample(acknowledged, min(3, len(acknowledged))):
                assert known(store, as_of) == then
            if acks:
                assert store.newest().tx >= int(acks[-1][2])


@pytest.mark.parametrize("batch", range(-(-ROUNDS // ROUNDS_PER_STORE)))
def test_what_was_acknowledged_survives(children: Any, script: ModuleType, place: str, batch: int) -> None:
    survive(children, script, place, batch, ROUNDS_PER_STORE, after_s=0.008)


@pytest.mark.parametrize("batch", range(-(-ROUNDS // 100)))
@pytest.mark.parametrize("catalog", ["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def test_what_was_acknowledged_survives_with_rows_in_questdb(
    children: Any,
    script: ModuleType,
    questdb_server: QuestDBServer,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    catalog: str,
    batch: int,
) -> None:
    """A tenth of the rounds, for QuestDB takes its time."""
    where = request.getfixturevalue("postgres_url") if catalog == "postgres" else tmp_path / "catalog"
    place = questdb_server.url(where, f"crash_{uuid4().hex}")
    survive(children, script, place, batch, ROUNDS_PER_STORE // 2, after_s=0.15)
