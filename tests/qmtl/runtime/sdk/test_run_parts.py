"""A run that is given bars as they were known is what somebody sees who reads every commit, one by one."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmtl import (
    Bar,
    Coverage,
    Gap,
    MissingDataError,
    Portfolio,
    Revision,
    Runner,
    RunResult,
    SeamlessDataProvider,
    SeriesId,
    Span,
    StoreError,
    Strategy,
    StrategyError,
    StreamInput,
    node,
)
from qmtl.foundation.frames import VALUES, bars, stamps
from qmtl.foundation.times import DAY, MINUTE, SECOND, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.replay.knowledge import FOLLOWED
from qmtl.runtime.sdk import run_history
from qmtl.runtime.testing import FakeClock

A, B = SeriesId.parse("ohlcv:mine:A:1m"), SeriesId.parse("ohlcv:mine:B:1m")
T0 = to_ns("2024-03-01")
START, END = T0 + 12 * MINUTE, T0 + 36 * MINUTE
WINDOW = 3


class Watch(Strategy):
    price = StreamInput([A, B], window=WINDOW, allow_partial=True)
    mean = node(price, pl.col("close").mean())

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gaps: list[Any] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.seen.append((portfolio._market.now, bar, self.mean))

    def on_revision(self, revision: Revision, portfolio: Portfolio) -> None:
        self.seen.append((portfolio._market.now, revision, self.mean))

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        self.gaps.append((portfolio._market.now, gap))


def rows_of(places: list[int], draw: np.random.Generator) -> pl.DataFrame:
    ts = T0 + np.array(places, dtype=np.int64) * MINUTE
    close = draw.integers(50, 60, len(places)).astype(float)
    return bars(ts, {"open": close, "high": close, "low": close, "close": close, "volume": close})


def write(
    store: Store, series: SeriesId, places: list[int], frame: pl.DataFrame, at: int, *, live: bool
) -> None:
    cells = Coverage(Span(T0 + one * MINUTE, T0 + (one + 1) * MINUTE) for one in places)
    delivered = dict.fromkeys(stamps(frame).tolist(), at - SECOND) if live else {}
    store.commit(series, Write("mine", at, frame, answered=cells, delivered_at=delivered))


class Step(NamedTuple):
    """Something that happens to the store, in tenths of a minute."""

    at: int
    kind: str
    series: SeriesId
    first: int
    last: int


@st.composite
def scripts(draw: st.DrawFn) -> list[Step]:
    steps = []
    for series in (A, B):
        for place in range(40):
            if draw(st.integers(0, 9)) < 7:
                at = (place + 1) * 10 + draw(st.sampled_from([1, 1, 1, 2, 15, 40]))
                steps.append(Step(at, "live", series, place, place))
    for _ in range(draw(st.integers(0, 8))):
        first = draw(st.integers(0, 39))
        last = min(39, first + draw(st.integers(0, 6)))
        at = (last + 1) * 10 + draw(st.sampled_from([3, 25, 70, 150, 20_000]))
        kind = draw(st.sampled_from(["heal", "heal", "correct", "retract", "empty"]))
        steps.append(Step(at, kind, draw(st.sampled_from([A, B])), first, last))
    if draw(st.booleans()):
        steps += [Step(30_000, "heal", series, 0, 39) for series in (A, B)]
    return sorted(steps, key=lambda step: (step.at, step.kind, step.series.text, step.first))


def played(steps: list[Step], seed: int) -> tuple[MemoryStore, FakeClock]:
    draw, clock = np.random.default_rng(seed), FakeClock(T0)
    store = MemoryStore(clock=clock)
    for step in steps:
        clock.advance(
            (T0 + step.at * 6 * SECOND - clock.now()) / SECOND
            if clock.now() < T0 + step.at * 6 * SECOND
            else 0
        )
        places = list(range(step.first, step.last + 1))
        span = Span(T0 + step.first * MINUTE, T0 + (step.last + 1) * MINUTE)
        there = stamps(store.read(step.series, span).frame)
        missing = [one for one in places if T0 + one * MINUTE not in there]
        match step.kind:
            case "live" if missing:
                write(store, step.series, places, rows_of(places, draw), clock.now(), live=True)
            case "heal" if missing:
                write(store, step.series, places, rows_of(missing, draw), clock.now(), live=False)
            case "correct":
                known = [one for one in places if one not in missing]
                write(store, step.series, places, rows_of(known, draw), clock.now(), live=False)
            case "retract":
                store.retract(step.series, span, reason="a test")
            case "empty":
                write(store, step.series, places, rows_of([], draw), clock.now(), live=False)
    clock.advance(10 * DAY / SECOND)
    return store, clock


class Naive:
    """Every commit is read as a whole, and every bar is compared with what it was."""

    def __init__(self, store: Store) -> None:
        self.first: dict[tuple[SeriesId, int], int] = {}
        self.changes: list[tuple[int, SeriesId, int, Any, Any]] = []
        self.values: dict[tuple[SeriesId, int], Any] = {}
        self.assumed = 0
        for series in (A, B):
            self.read(store, series)

    def read(self, store: Store, series: SeriesId) -> None:
        span = Span(T0, END)
        states = []
        for commit in store.commits(series):
            snapshot = store.read(series, span, as_of=commit.as_of)
            rows = {
                row[0]: row[1:]
                for row in zip(stamps(snapshot.frame).tolist(), *snapshot.frame.select(VALUES), strict=True)
            }
            came = store.deliveries(series, span, as_of=commit.as_of)
            states.append(
                (
                    commit.as_of,
                    rows,
                    snapshot.answered,
                    dict(zip(*(came[n].to_physical().to_list() for n in came.columns), strict=True)),
                )
            )
        moments = sorted({at for *_, came in states for at in came.values()})

        def is_followed(at: int) -> bool:
            pairs = pairwise(moments)
            return at in moments or any(a <= at <= b and b - a <= FOLLOWED * MINUTE for a, b in pairs)

        for ts in range(T0, END, MINUTE):
            before, since, answered, closed = None, None, False, ts + MINUTE
            for at, rows, said, came in states:
                now = rows.get(ts)
                if now != before and since is None:
                    if ts in came:
                        since = max(closed, came[ts])
                    elif answered or (is_followed(closed) and at > closed):
                        since = max(closed, at)
                    else:
                        since = closed
                        self.assumed += 1
                    self.first[series, ts], self.values[series, ts] = since, now
                elif now != before:
                    since = max(since + 1, at)
                    self.changes.append((since, series, ts, before, now))
                before, answered = now, bool(said.holds(np.array([ts]))[0])
        of_series = {ts: since for (one, ts), since in self.first.items() if one == series}
        for ts, since in of_series.items():
            if any(other > ts and at < since for other, at in of_series.items()):
                self.changes.append((since, series, ts, None, self.values.pop((series, ts))))

    def told(self) -> list[Any]:
        order = [A, B]
        events = [
            (at, 0, order.index(series), ts, old, new)
            for at, series, ts, old, new in self.changes
            if at <= END
        ]
        events += [
            (self.first[key], 1, order.index(key[0]), key[1], None, values)
            for key, values in self.values.items()
            if self.first[key] <= END
        ]
        events.sort(key=lambda event: event[:4])
        known: dict[SeriesId, dict[int, Any]] = {A: {}, B: {}}
        seen = []

        def bar(series: SeriesId, ts: int, values: Any) -> Bar | None:
            return None if values is None else Bar(series, ts, ts + MINUTE, *values)

        def mean(series: SeriesId) -> float | None:
            newest = [known[series][ts][3] for ts in sorted(known[series])[-WINDOW:]]
            return sum(newest) / WINDOW if len(newest) == WINDOW else None

        for at in sorted({event[0] for event in events}):
            here = [event for event in events if event[0] == at]
            changed = [event for event in here if event[1] == 0]
            for _, _, place, ts, _, new in changed:
                known[order[place]].pop(ts, None)
                if new is not None:
                    known[order[place]][ts] = new
            for _, _, place, ts, old, new in changed:
                if at > START:
                    series = order[place]
                    seen.append((at, Revision(bar(series, ts, old), bar(series, ts, new), at), mean(series)))
            fresh = [event for event in here if event[1] == 1]
            for _, _, place, ts, _, new in fresh:
                known[order[place]][ts] = new
            for _, _, place, ts, _, new in fresh:
                if ts >= START and mean(order[place]) is not None:
                    seen.append((at, bar(order[place], ts, new), mean(order[place])))
        return seen


def submit(store: Any, clock: FakeClock | None, strategy: Any, **options: Any) -> RunResult:
    with SeamlessDataProvider(store=store, vendors={}, **({"clock": clock} if clock else {})) as history:
        options = {"start": START, "end": END, "knowledge": "as_known", **options}
        return Runner.submit(strategy, history_provider=history, **options)


@given(scripts(), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_a_run_is_given_what_was_known_when_it_was_known(steps: list[Step], seed: int) -> None:
    store, clock = played(steps, seed)
    watch, naive = Watch(), Naive(store)
    result = submit(store, clock, watch)
    assert watch.seen == naive.told()
    assert result.proof.known.mode == "as_known"
    # Bars that stay unknown to the end of the run are counted as well: they are read.
    assert result.proof.known.counts.assumed == naive.assumed


@given(scripts(), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_it_is_the_same_however_rows_are_cut(steps: list[Step], seed: int) -> None:
    store, clock = played(steps, seed)
    whole, cut = Watch(), Watch()
    one = submit(store, clock, whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_history, "_ROWS_AT_ONCE", 7)
        other = submit(store, clock, cut)
    assert len(other.proof.read) > len(one.proof.read)
    assert cut.seen == whole.seen
    assert cut.gaps == whole.gaps
    assert other.proof.outcome == one.proof.outcome


def followed(store: Store, clock: FakeClock) -> pl.DataFrame:
    """Forty bars of A, a second late each; 20 to 22 are healed at minute 30, 25 is corrected at minute 33."""
    rows = rows_of(list(range(40)), np.random.default_rng(1))
    hole = Coverage.of(Span(T0 + 20 * MINUTE, T0 + 23 * MINUTE))
    corrected = rows[25:26].with_columns(volume=pl.lit(7.0))
    steps: list[tuple[int, Write | int]] = [
        (T0 + 30 * MINUTE, Write("mine", 0, rows[20:23], answered=hole)),
        (T0 + 33 * MINUTE, Write("mine", 0, corrected)),
        *((T0 + (one + 1) * MINUTE + 2 * SECOND, one) for one in range(40) if not 20 <= one <= 22),
    ]
    for at, step in sorted(steps, key=lambda step: step[0]):
        clock.advance((at - clock.now()) / SECOND)
        if isinstance(step, Write):
            store.commit(A, step)
        else:
            write(store, A, [step], rows[step : step + 1], at, live=True)
    clock.advance(DAY / SECOND)
    return rows


class Single(Watch):
    price = StreamInput(A, window=WINDOW)
    mean = node(price, pl.col("close").mean())


def test_a_bar_that_was_healed_late_is_invisible_until_then() -> None:
    store = MemoryStore(clock=(clock := FakeClock(T0)))
    rows = followed(store, clock)
    watch = Single()
    result = submit(store, clock, watch)
    at_30 = T0 + 30 * MINUTE
    revisions = [event for _, event, _ in watch.seen if isinstance(event, Revision)]
    assert [one.new.ts for one in revisions if one.new and one.old is None] == [
        T0 + place * MINUTE for place in (20, 21, 22)
    ]
    assert {one.at for one in revisions if one.old is None} == {at_30}
    [correction] = [one for one in revisions if one.old is not None]
    assert correction.at == T0 + 33 * MINUTE
    assert (correction.old.volume, correction.new.volume) == (rows["volume"][25], 7.0)
    # The gap is told with the bar behind it, a second after that has closed; nobody sees its bars before.
    gap = Gap(A, Span(T0 + 20 * MINUTE, T0 + 23 * MINUTE), "unknown")
    assert watch.gaps == [(T0 + 24 * MINUTE + SECOND, gap)]
    means = {event.ts: mean for _, event, mean in watch.seen if isinstance(event, Bar)}
    behind = rows["close"].gather([18, 19, 23]).mean()
    assert means[T0 + 23 * MINUTE] == behind
    assert not any(T0 + place * MINUTE in means for place in (20, 21, 22))
    counts = result.proof.known.counts
    assert (counts.committed, counts.assumed) == (3, 0)
    assert "3 by commit, 0 assumed" in repr(result.proof)


def test_an_error_of_on_revision_names_the_bar_that_changed() -> None:
    store = MemoryStore(clock=(clock := FakeClock(T0)))
    followed(store, clock)

    class Fails(Single):
        def on_revision(self, revision: Revision, portfolio: Portfolio) -> None:
            raise KeyError("here")

    with pytest.raises(StrategyError, match=r"Fails\.on_revision raised KeyError: 'here'") as caught:
        submit(store, clock, Fails())
    assert caught.value.bar_ts == T0 + 20 * MINUTE
    assert f"at 2024-03-01T00:30:00Z, told of the bar of {A} that opens at 2024-03-01T00:20:00Z" in str(
        caught.value
    )


def test_history_that_was_stored_afterwards_is_assumed() -> None:
    store = MemoryStore(clock=FakeClock(T0 + DAY))
    write(store, A, list(range(40)), rows_of(list(range(40)), np.random.default_rng(1)), T0 + DAY, live=False)
    known, as_of = Single(), Single()
    result = submit(store, FakeClock(T0 + DAY), known)
    same = submit(store, FakeClock(T0 + DAY), as_of, knowledge="as_of")
    assert known.seen == as_of.seen
    assert result.proof.known.counts.assumed == 36
    assert result.proof.outcome == same.proof.outcome
    assert result.proof != same.proof


def test_too_few_bars_that_were_known_at_the_start_are_refused() -> None:
    store = MemoryStore(clock=(clock := FakeClock(T0)))
    followed(store, clock)

    class Long(Single):
        price = StreamInput(A, window=22)
        mean = node(price, pl.col("close").mean())

    at_25 = T0 + 25 * MINUTE
    with pytest.raises(
        MissingDataError, match=r"of the 22 bars before .* that windows need 21 were known then"
    ):
        submit(store, clock, Long(), start=at_25)


def test_what_retention_has_swept_refuses_the_run(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "bars", retention=0) as kept:
        for seed in (1, 2):
            rows = rows_of(list(range(40)), np.random.default_rng(seed))
            write(kept, A, list(range(40)), rows, T0 + DAY, live=False)
        kept.compact()
        assert submit(kept, None, Single(), knowledge="as_of").figures.bars == 24
        with pytest.raises(StoreError, match="what was known of bars at their time is no longer stored"):
            submit(kept, None, Single())


PROGRAM = """
import json, sys
sys.path[:0] = {paths!r}
from test_run_parts import *
with SeamlessDataProvider({store!r}, vendors={{}}) as history:
    if sys.argv[1:]:
        Runner.verify({proof!r}, Watch, history_provider=history)
    options = dict(start=START, end=END, knowledge="as_known")
    print(json.dumps(Runner.submit(Watch, history_provider=history, **options).proof.to_json()))
"""


def test_it_is_the_same_in_another_process_and_zone_and_can_be_verified(tmp_path: Path) -> None:
    place, proof = tmp_path / "bars", tmp_path / "proof.json"
    clock = FakeClock(T0)
    with EmbeddedStore(place, clock=clock) as store:
        followed(store, clock)
        write(store, B, list(range(40)), rows_of(list(range(40)), np.random.default_rng(3)), T0, live=False)
        store.retract(B, Span(T0 + 15 * MINUTE, T0 + 17 * MINUTE), reason="a test")
        folder = Path(__file__).parent
        code = PROGRAM.format(paths=[str(folder), *sys.path], store=str(place), proof=str(proof))
        outputs = []
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo")):
            outputs.append(
                subprocess.run(
                    [sys.executable, "-c", code, *outputs[:1]],
                    check=True,
                    capture_output=True,
                    text=True,
                    env={"PYTHONHASHSEED": seed, "TZ": zone, "PATH": ""},
                ).stdout
            )
            proof.write_text(outputs[0])
        assert outputs[0] == outputs[1]
        assert '"knowledge": "as_known"' in outputs[0]
