"""Two stores that share nothing but the contract and its algebra answer alike, whatever is done to them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.frames import empty_bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Commit, CommitInfo, Snapshot, Write
from qmtl.runtime.testing.store_model import HORIZON, SERIES, bar_at, frame_rows, frames, spans, writes

pytestmark = pytest.mark.usefixtures("small_chunks")

OTHER = SeriesId.parse("ohlcv:model:ETH/USDT:1m")
names = st.sampled_from([SERIES, SERIES, OTHER])
EVERYTHING = Span(bar_at(-1), bar_at(HORIZON + 50))
shards = st.sampled_from([[-1, 0], [-1, 0], [-1, 0, 1], [0], []])  # the bars lie in -1 and 0
# Most writes come without: a shard that was not opened yet refuses them.
fenced = st.one_of(st.just([]), st.just([]), shards)


class More(NamedTuple):
    """What a commit may bring beside rows and answers."""

    fenced: list[int]
    live: bool
    impossible: pl.DataFrame
    declared: SeriesFacts


@st.composite
def mores(draw: st.DrawFn) -> More:
    impossible = draw(st.one_of(st.just(empty_bars()), frames()))
    declared = draw(st.sampled_from([NOTHING_DECLARED, NOTHING_DECLARED, SeriesFacts(calendar="XNYS")]))
    return More(draw(fenced), draw(st.booleans()), impossible, declared)


class Ticking:
    """A clock whose every question takes a microsecond."""

    def __init__(self) -> None:
        self.time = 1_000_000

    def now(self) -> int:
        self.time += 1_000
        return self.time

    @staticmethod
    def monotonic() -> float:
        return 0.0


def plain(answer: Any) -> Any:
    """An answer as values that can be compared; without what each store says in its own way."""
    if isinstance(answer, pl.DataFrame):
        return answer.rows(), answer.schema
    if isinstance(answer, Snapshot):
        rows = frame_rows(answer.rows)
        around = [one for one in answer.answers_around if rows]
        return (answer.tx, answer.as_of, rows, answer.first, answer.count, list(answer.answers)), (
            around,
            answer.answered_behind,
            answer.damaged,
        )
    if isinstance(answer, Commit):
        return answer.tx, answer.as_of, answer.added, answer.unchanged, plain(answer.replaced)
    if isinstance(answer, CommitInfo):
        return answer._replace(writer="")
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [plain(one) for one in answer]
    return answer


def _read_many(store: Store, **options: Any) -> dict[SeriesId, Snapshot]:
    return store.read_many([SERIES, OTHER], **options)


class Stores(RuleBasedStateMachine):
    """Each step is done to both; both answer with the same value, or refuse with the same error."""

    def opened(self) -> Store:
        """An empty store, which is compared with one in memory. Its clock ticks, see above."""
        self.folder = Path(tempfile.mkdtemp())
        return EmbeddedStore(self.folder / "store", clock=Ticking())  # type: ignore[arg-type]  # needs no more

    @initialize()
    def begin(self) -> None:
        self.stores: tuple[Store, Store] = (
            self.opened(),
            MemoryStore(clock=Ticking()),  # type: ignore[arg-type]
        )
        self.tokens = [store.changed_since(None).token for store in self.stores]
        self.issued: dict[SeriesId, dict[int, int]] = {SERIES: {}, OTHER: {}}

    def both(self, ask: Callable[[Store], Any]) -> Any:
        answers = []
        for store in self.stores:
            try:
                answers.append(plain(ask(store)))
            except QmtlError as error:
                answers.append((type(error), error.what, error.series, error.why))
        # The clock runs on with each question of either.
        time = max(store._clock.time for store in self.stores)  # type: ignore[attr-defined]
        for store in self.stores:
            store._clock.time = time  # type: ignore[attr-defined]
        assert answers[0] == answers[1]
        return answers[0]

    def given(self, series: SeriesId, write: Write, more: More) -> Write:
        """The write with what else a commit may bring."""
        stamps = write.frame["ts"].to_physical().to_list() if more.live else []
        return replace(
            write,
            refused=write.retracted,
            refused_until=9,
            quarantine=more.impossible.with_columns(rule=pl.lit("a_rule")),
            fences={shard: self.issued[series].get(shard, 1) for shard in more.fenced},
            delivered_at={ts: ts + 7 for ts in stamps[::2]},
            declared=more.declared,
        )

    @rule(series=names, write=writes(), more=mores())
    def commit(self, series: SeriesId, write: Write, more: More) -> None:
        given = self.given(series, write, more)
        self.both(lambda store: store.commit(series, given))

    @rule(series=names, numbers=shards, claim=st.sampled_from("ab"), late=st.booleans())
    def open_fence(self, series: SeriesId, numbers: list[int], claim: str, late: bool) -> None:
        tokens = self.both(lambda store: store.open_fence(series, numbers, claim))
        if not late:
            self.issued[series] |= tokens

    @rule(series=names, span=spans())
    def retract(self, series: SeriesId, span: Span) -> None:
        self.both(lambda store: store.retract(series, span, reason="a trial"))

    @rule(series=names, calendar=st.sampled_from([None, "XNYS"]))
    def declare(self, series: SeriesId, calendar: str | None) -> None:
        self.both(lambda store: store.declare(series, SeriesFacts(calendar=calendar)))

    @rule(span=spans(), context=st.integers(0, 30), back=st.integers(-1, 20))
    def read(self, span: Span, context: int, back: int) -> None:
        newest = self.both(lambda store: store.newest()).as_of
        for as_of in (None, max(newest - back * 1_000, 0)):
            self.both(
                lambda store, at=as_of: store.read_many([SERIES, OTHER], span, as_of=at, context=context)
            )
            self.both(lambda store, at=as_of: store.deliveries(SERIES, EVERYTHING, as_of=at))
            self.both(lambda store, at=as_of: store.facts(SERIES, as_of=at))
        self.both(lambda store: store.quarantined(SERIES, span))

    @rule(first=names, one=writes(), two=writes(), more=mores(), still_more=mores())
    def commit_many(self, first: SeriesId, one: Write, two: Write, more: More, still_more: More) -> None:
        second = OTHER if first == SERIES else SERIES
        given = {first: self.given(first, one, more), second: self.given(second, two, still_more)}
        self.both(lambda store: store.commit_many(given))

    @rule(back=st.integers(0, 30))
    def diff(self, back: int) -> None:
        newest = self.both(lambda store: store.newest()).as_of
        self.both(lambda store: store.diff(SERIES, max(newest - back * 1_000, 0), newest))
        self.both(lambda store: store.commits(OTHER))

    @rule()
    def follow(self) -> None:
        found = [store.changed_since(token) for store, token in zip(self.stores, self.tokens, strict=True)]
        self.tokens = [one.token for one in found]
        listed = [[(change.tx, change.series) for change in one.commits] for one in found]
        assert listed[0] == listed[1]

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


Stores.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
TestStoresAgree = Stores.TestCase
