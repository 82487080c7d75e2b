"""A store so plain that it must be right, and a machine that holds any other store against it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import bars
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.values import CoverageRecord, Write

SERIES = SeriesId.parse("ohlcv:model:BTC/USDT:1m")
STEP = SERIES.timeframe.step
# Bars are counted from here, so that times before 1970 are met too.
FIRST_BAR = -20

Values = tuple[float | None, ...]


class State(NamedTuple):
    """All that is known of one series at one commit: rows by stamp, answers by cell."""

    rows: dict[int, Values]
    cells: dict[int, tuple[str, str, int, int | None]]  # outcome, source, checked_at, expires_at
    facts: SeriesFacts | None


NOTHING = State({}, {}, None)


class ModelStore:
    """What a store of one series should do, in dictionaries; every state of the past is kept whole.

    Answers are kept cell by cell; those of whole cells only are understood.
    """

    def __init__(self) -> None:
        self.states: list[tuple[int, State]] = []

    @property
    def now(self) -> State:
        return self.states[-1][1] if self.states else NOTHING

    def commit(self, write: Write, as_of: int) -> tuple[int, int, dict[int, tuple[Values, Values]]]:
        """Rows added and unchanged, and old and new values of those replaced."""
        rows, cells, facts = dict(self.now.rows), dict(self.now.cells), self.now.facts
        added = unchanged = 0
        replaced: dict[int, tuple[Values, Values]] = {}
        for ts, values in frame_rows(write.frame).items():
            if ts not in rows:
                added += 1
            elif rows[ts] == values:
                unchanged += 1
            else:
                replaced[ts] = (rows[ts], values)
            rows[ts] = values
        for ts in cells_of(write.answered):
            cells[ts] = ("answered", write.source, write.checked_at, None)
        for ts in cells_of(write.absent):
            cells[ts] = ("absent", write.source, write.checked_at, write.absent_until)
        for ts in cells_of(write.retracted):
            cells.pop(ts, None)
        state = State(rows, dict(_merged(cells)), facts)
        if state != self.now:
            self.states.append((as_of, state))
        return added, unchanged, replaced

    def declare(self, facts: SeriesFacts, as_of: int) -> None:
        if self.now.facts != facts:
            self.states.append((as_of, self.now._replace(facts=facts)))

    def retract(self, span: Span, as_of: int) -> int:
        """How many rows were taken away."""
        gone = [ts for ts in self.now.rows if span.start <= ts < span.end]
        rows = {ts: values for ts, values in self.now.rows.items() if ts not in gone}
        cells = {ts: cell for ts, cell in self.now.cells.items() if not span.start <= ts < span.end}
        state = State(rows, cells, self.now.facts)
        if state != self.now:
            self.states.append((as_of, state))
        return len(gone)

    def at(self, as_of: int) -> State:
        """The state of the newest commit at `as_of`."""
        return next((state for time, state in reversed(self.states) if time <= as_of), NOTHING)


def _merged(cells: dict[int, tuple[str, str, int, int | None]]) -> dict[int, Any]:
    """Cells that touch and say the same share the oldest `checked_at` among them."""
    result = dict(cells)
    for group in groups(cells):
        oldest = min(cells[ts][2] for ts in group)
        for ts in group:
            outcome, source, _, expires_at = cells[ts]
            result[ts] = (outcome, source, oldest, expires_at)
    return result


def groups(cells: dict[int, tuple[str, str, int, int | None]]) -> list[list[int]]:
    """Runs of cells that touch and say the same."""
    runs: list[list[int]] = []
    for ts in sorted(cells):
        outcome, source, _, expires_at = cells[ts]
        if runs and runs[-1][-1] + STEP == ts:
            last = cells[runs[-1][-1]]
            if (last[0], last[1], last[3]) == (outcome, source, expires_at):
                runs[-1].append(ts)
                continue
        runs.append([ts])
    return runs


def answers_of(cells: dict[int, tuple[str, str, int, int | None]], span: Span) -> list[CoverageRecord]:
    """The answers that meet a span, unclipped."""
    found = []
    for group in groups(cells):
        outcome, source, checked_at, expires_at = cells[group[0]]
        answer = CoverageRecord(group[0], group[-1] + STEP, outcome, source, checked_at, expires_at)  # type: ignore[arg-type]  # one of the two words
        if answer.start < span.end and answer.end > span.start:
            found.append(answer)
    return found


def cells_of(coverage: Coverage) -> list[int]:
    """The stamps of the cells of a coverage of whole cells."""
    return [ts for span in coverage for ts in range(span.start, span.end, STEP)]


def frame_rows(frame: pl.DataFrame) -> dict[int, Values]:
    """Rows by stamp."""
    return {row[0]: tuple(row[1:]) for row in frame.with_columns(pl.col("ts").to_physical()).iter_rows()}


def make_frame(rows: dict[int, Values]) -> pl.DataFrame:
    """A frame of bars from rows by stamp."""
    stamps = sorted(rows)
    columns = [
        pl.Series(name, [rows[ts][at] for ts in stamps], dtype=pl.Float64)
        for at, name in enumerate(("open", "high", "low", "close", "volume"))
    ]
    return bars(np.array(stamps, dtype=np.int64), {column.name: column for column in columns})


def bar_at(number: int) -> int:
    """The stamp of a bar counted from the first one of the model."""
    return (FIRST_BAR + number) * STEP


# What the machine draws from.
HORIZON = 120
numbers = st.integers(0, HORIZON)
prices = st.sampled_from([1.0, 2.5, 0.1 + 0.2, 1e-8, -37.63, 0.0])
volumes = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 1e9]))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Rows of bars, few or many, dense or not."""
    if draw(st.booleans()):
        start, count = draw(numbers), draw(st.integers(0, 40))
        price, volume = draw(prices), draw(volumes)
        return make_frame({bar_at(start + i): (price,) * 4 + (volume,) for i in range(count)})
    rows = draw(st.dictionaries(numbers, st.tuples(prices, prices, prices, prices, volumes), max_size=6))
    return make_frame({bar_at(number): values for number, values in rows.items()})


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """Spans of whole cells."""
    first, last = sorted([draw(numbers), draw(numbers)])
    return Span(bar_at(first), bar_at(last))


coverages = st.lists(spans(), max_size=2).map(Coverage)


@st.composite
def writes(draw: st.DrawFn) -> Write:
    """Any write of whole cells."""
    return Write(
        source=draw(st.sampled_from(["a", "b"])),
        checked_at=draw(st.integers(0, 3)),
        frame=draw(frames()),
        answered=draw(coverages),
        absent=draw(st.one_of(st.just(Coverage()), coverages)),
        absent_until=draw(st.integers(5, 6)),
        retracted=draw(st.one_of(st.just(Coverage()), coverages)),
    )


class StoreMachine(RuleBasedStateMachine):
    """Commits, reads, differences and declarations in any order, against `ModelStore`.

    An implementation inherits it and says how a store is opened; `reopen` and `tidy` may be overridden where
    a store can be closed and opened again, or compacted.
    """

    store: Store

    @abstractmethod
    def open(self) -> Store:
        """An empty store."""

    def reopen(self) -> Store:
        """The same store, closed and opened again."""
        return self.store

    def tidy(self) -> None:
        """Maintenance that must not change anything visible."""

    @initialize()
    def begin(self) -> None:
        self.store = self.open()
        self.model = ModelStore()
        self.times: list[int] = [0]

    @rule(write=writes(), again=st.booleans())
    def commit(self, write: Write, again: bool) -> None:
        for _ in range(1 + again):
            commit = self.store.commit(SERIES, write)
            added, unchanged, replaced = self.model.commit(write, commit.as_of)
            assert (commit.added, commit.unchanged) == (added, unchanged)
            assert replaced == {
                row[0]: (tuple(row[1:6]), tuple(row[6:]))
                for row in commit.replaced.with_columns(pl.col("ts").to_physical()).iter_rows()
            }
            assert commit.as_of >= self.times[-1]
            self.times.append(commit.as_of)
            assert self.store.newest().tx == commit.tx

    @rule(calendar=st.sampled_from([None, "XNYS", "FX"]), has_volume=st.booleans())
    def declare(self, calendar: str | None, has_volume: bool) -> None:
        facts = SeriesFacts(calendar=calendar, has_volume=has_volume)
        self.store.declare(SERIES, facts)
        at = self.store.newest().as_of
        self.model.declare(facts, at)
        self.times.append(max(at, self.times[-1]))

    @rule(span=spans())
    def retract(self, span: Span) -> None:
        known = len(self.model.states)
        retraction = self.store.retract(SERIES, span, reason="a trial")
        assert self.model.retract(span, retraction.as_of) == retraction.rows
        assert retraction.changed == (len(self.model.states) > known)
        assert retraction.as_of >= self.times[-1]
        self.times.append(retraction.as_of)

    @rule(span=spans(), context=st.integers(0, 30))
    def read(self, span: Span, context: int) -> None:
        self._compare(self.model.now, span, None, context)

    @rule(span=spans(), context=st.integers(0, 5), data=st.data())
    def read_as_of(self, span: Span, context: int, data: st.DataObject) -> None:
        as_of = data.draw(st.sampled_from(self.times)) + data.draw(st.sampled_from([-1, 0]))
        if as_of >= 0:
            self._compare(self.model.at(as_of), span, as_of, context)

    def _compare(self, state: State, span: Span, as_of: int | None, context: int) -> None:
        snapshot = self.store.read(SERIES, span, as_of=as_of, context=context)
        within = {ts: row for ts, row in state.rows.items() if span.start <= ts < span.end}
        assert frame_rows(snapshot.frame) == within
        before = sorted(ts for ts in state.rows if ts < span.start)
        after = sorted(ts for ts in state.rows if ts >= span.end)
        around = [*before[max(0, len(before) - context) :], *sorted(within), *after[:context]]
        assert list(frame_rows(snapshot.rows)) == around
        assert list(snapshot.answers) == answers_of(state.cells, span)
        assert self.store.facts(SERIES, as_of=as_of) == state.facts
        assert self.store.read(SERIES, span, as_of=snapshot.as_of).frame.equals(snapshot.frame)

    @rule(data=st.data())
    def diff(self, data: st.DataObject) -> None:
        a, b = (data.draw(st.sampled_from(self.times)) for _ in range(2))
        old, new = self.model.at(a).rows, self.model.at(b).rows
        expected = {
            ts: (
                "added" if ts not in old else "removed" if ts not in new else "changed",
                old.get(ts, (None,) * 5),
                new.get(ts, (None,) * 5),
            )
            for ts in sorted(old.keys() | new.keys())
            if old.get(ts) != new.get(ts)
        }
        found = self.store.diff(SERIES, a, b).with_columns(pl.col("ts").to_physical())
        assert expected == {row[0]: (row[1], tuple(row[2:7]), tuple(row[7:])) for row in found.iter_rows()}
        assert found["ts"].is_sorted()

    @rule()
    def close_and_open(self) -> None:
        self.store = self.reopen()

    @rule()
    def compact(self) -> None:
        self.tidy()

    @invariant()
    def all_is_there(self) -> None:
        if hasattr(self, "model"):
            everything = Span(bar_at(-1), bar_at(HORIZON + 50))
            assert frame_rows(self.store.read(SERIES, everything).frame) == self.model.now.rows

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
