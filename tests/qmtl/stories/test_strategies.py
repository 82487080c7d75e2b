"""A strategy runs over history: complete, at one commit, in the order of closes, with a proof."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl import (
    Bar,
    FillModel,
    Gap,
    InvalidRequestError,
    MissingDataError,
    Portfolio,
    ProofError,
    Runner,
    RunResult,
    SeamlessDataProvider,
    SeriesId,
    Span,
    StoreError,
    Strategy,
    StrategyError,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import HOUR, MINUTE, to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.replay import run as run_module
from qmtl.runtime.sdk import run_history
from qmtl.runtime.sdk.strategy_files import strategy_of_file
from qmtl.runtime.testing import synthetic_bars

A, B, A_HOURS = "ohlcv:mine:A:1m", "ohlcv:mine:B:1m", "ohlcv:mine:A:1h"
FIRST, START, END = (to_ns(day) for day in ("2024-03-01", "2024-03-02", "2024-03-04"))
CLOSE = pl.col("close")


def fill(store: Path, *series: str, without: Span | None = None, first: int = FIRST) -> None:
    for name in series:
        frame = synthetic_bars(name, Span(first, END))
        if without is not None:
            ts = pl.col("ts").cast(pl.Int64)
            frame = frame.filter((ts < without.start) | (ts >= without.end))
        import_frame(store, frame, name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def provider(store: Path) -> SeamlessDataProvider:
    return SeamlessDataProvider(store, vendors={})


class Cross(Strategy):
    price = StreamInput([A, B], window=50)
    hours = StreamInput(A_HOURS, window=3)
    fast = node(price, CLOSE.tail(10).mean())
    slow = node(price, lambda window: window["close"].mean())
    trend = node(hours, CLOSE.last() - CLOSE.first())

    def __init__(self) -> None:
        self.seen: list[tuple[Bar, float, float, float]] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.seen.append((bar, self.fast, self.slow, self.trend))
        if bar.series.text != A_HOURS:
            portfolio.target(bar.series, 0.5 if self.fast > self.slow and self.trend > 0 else 0.0)


def test_bars_come_in_order_each_with_what_is_known_then(store: Path) -> None:
    fill(store, A, B, A_HOURS)
    strategy = Cross()
    with provider(store) as history:
        result = Runner.submit(strategy, history_provider=history, start=START, end=END)
        frames = {name: history.fetch(name, FIRST, END).frame for name in (A, B, A_HOURS)}
    steps = {A: MINUTE, B: MINUTE, A_HOURS: HOUR}
    order = sorted(
        (ts + steps[name], list(steps).index(name), ts)
        for name, frame in frames.items()
        for ts in frame["ts"].cast(pl.Int64).to_list()
        if ts >= START
    )
    assert [(bar.closed, list(steps).index(bar.series.text), bar.ts) for bar, *_ in strategy.seen] == order
    assert result.figures.bars == len(order) == 2 * 2 * 1440 + 2 * 24

    def window(name: str, now: int, size: int) -> pl.DataFrame:
        return frames[name].filter(pl.col("ts").cast(pl.Int64) + steps[name] <= now).tail(size)

    for bar, fast, slow, trend in strategy.seen[::97]:
        minutes = window(A if bar.series.text == A_HOURS else bar.series.text, bar.closed, 50)
        hours = window(A_HOURS, bar.closed, 3)
        assert fast == minutes.select(CLOSE.tail(10).mean()).item()
        assert slow == minutes["close"].mean()
        assert trend == hours["close"][-1] - hours["close"][0]
    assert result.fills.height > 10
    assert result.equity["ts"].is_sorted()
    assert result.equity.height == 2 * 1440


class Declared(Strategy):
    price = StreamInput([A, B], window=50)
    fast = node(price, CLOSE.tail(10).mean())
    slow = node(price, CLOSE.mean())
    target = pl.when(pl.col("fast") > pl.col("slow")).then(0.5).otherwise(0.0)


class Listening(Declared):
    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        """Having it is enough to be asked about each bar."""


class ByHand(Declared):
    target = None

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, 0.5 if self.fast > self.slow else 0.0)


@pytest.mark.parametrize("knowledge", ["as_of", "as_known"])
def test_a_target_is_proven_as_what_it_stands_for(
    store: Path, monkeypatch: pytest.MonkeyPatch, knowledge: str
) -> None:
    fill(store, A, B)
    events = run_module.events
    seen: list[int] = []
    monkeypatch.setattr(run_module, "events", lambda parts: seen.append(1) or events(parts))
    proofs = {}
    with provider(store) as history:
        for kind in (ByHand, Listening, Declared):
            seen.clear()
            result = Runner.submit(kind, history_provider=history, start=START, end=END, knowledge=knowledge)
            proofs[kind] = result.proof.to_json()
            assert bool(seen) == (kind is not Declared)
            assert result.fills.height > 10
        assert Runner.verify(result.proof, Declared, history_provider=history).proof == result.proof
    for kind in (Listening, Declared):
        differing = {name for name, value in proofs[kind].items() if value != proofs[ByHand][name]}
        assert differing == {"strategy", "source"}


def test_a_target_is_an_expression_and_stands_alone(store: Path) -> None:
    class Both(Declared):
        def on_bar(self, bar: Bar, portfolio: Portfolio) -> None: ...

    class Number(Declared):
        target: Any = 0.5

    fill(store, A, B)
    with provider(store) as history:
        for kind, says in ((Both, "an on_bar of its own"), (Number, "is 0.5, and no expression")):
            with pytest.raises(InvalidRequestError, match=says):
                Runner.submit(kind, history_provider=history, start=START, end=END)


def test_a_run_is_the_same_however_its_rows_are_cut(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, A, B, A_HOURS)
    with provider(store) as history:
        whole = Runner.submit(Cross, history_provider=history, start=START, end=END)
        monkeypatch.setattr(run_history, "_ROWS_AT_ONCE", 700)
        cut = Runner.submit(Cross, history_provider=history, start=START, end=END)
    assert len(cut.proof.read) > len(whole.proof.read)
    assert cut.proof.outcome == whole.proof.outcome
    assert cut.fills.equals(whole.fills)
    assert cut.equity.equals(whole.equity)


PROGRAM = """
import sys
sys.path[:0] = {paths!r}
from test_strategies import *
with provider(Path({store!r})) as history:
    print(Runner.submit(Cross, history_provider=history, start=START, end=END).proof.to_json())
"""


def test_another_process_comes_to_the_same_proof(store: Path) -> None:
    fill(store, A, B, A_HOURS)
    with provider(store) as history:
        proof = Runner.submit(Cross, history_provider=history, start=START, end=END).proof
    code = PROGRAM.format(paths=[str(Path(__file__).parent)], store=str(store))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "TZ": zone, "PATH": ""},
        ).stdout.strip()
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    }
    assert len(outputs) == 1
    assert str(proof.to_json()["outcome"]) in outputs.pop()


def test_the_proof_names_what_was_read(store: Path) -> None:
    fill(store, A, B, A_HOURS)
    with provider(store) as history:
        proof = Runner.submit(Cross, history_provider=history, start=START, end=END).proof
        assert {part.series for part in proof.read} == {A, B, A_HOURS}
        for part in proof.read:
            again = history.fetch(part.series, *part.span, as_of=part.as_of)
            assert again.receipt.fingerprint == part.fingerprint
    assert proof.source is not None
    assert len({part.as_of for part in proof.read}) == 1
    assert "blake3:" in repr(proof)


class Hold(Strategy):
    price = StreamInput(A)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, 1.0)


def test_buy_and_hold_is_worth_what_the_bars_say(store: Path) -> None:
    fill(store, A)
    model = FillModel(cash=1_000.0, fee_bps=10)
    with provider(store) as history:
        bars = history.fetch(A, START, END).frame
        result = Runner.submit(Hold, history_provider=history, start=START, end=END, fills=model)
    price = bars["open"][1]
    units = min(1_000.0 / bars["close"][0], 1_000.0 / (price * 1.001))
    [row] = result.fills.to_dicts()
    assert row["units"] == pytest.approx(units)
    assert row["price"] == price
    cash = 1_000.0 - row["units"] * price * 1.001
    expected = cash + row["units"] * bars["close"][1:].to_numpy()
    assert result.equity["equity"].to_list() == pytest.approx([1_000.0, *expected])
    assert result.figures.total_return == pytest.approx(expected[-1] / 1_000.0 - 1)
    text = repr(result.summary())
    assert "2,880, from 2024-03-02T00:01:00Z to 2024-03-04\n" in text
    assert "filled at next open, fee 10 bps" in text


class Own(Strategy):
    """One input has a provider of its own."""

    price = StreamInput(A, window=2)

    def __init__(self, other: SeamlessDataProvider) -> None:
        self.mixed: list[float] = []
        type(self).index.history_provider = other

    index = StreamInput("ohlcv:index:I:1h", window=2)
    level = node(index, CLOSE.last())

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.mixed.append(self.level)


def test_an_input_keeps_a_provider_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path / "one", A)
    fill(tmp_path / "other", "ohlcv:index:I:1h")
    with provider(tmp_path / "one") as one, provider(tmp_path / "other") as other:
        strategy = Own(other)
        result = Runner.submit(strategy, history_provider=one, start=START, end=END)
        levels = other.fetch("ohlcv:index:I:1h", START, END).frame["close"].to_list()
    assert set(strategy.mixed) >= set(levels)
    assert len({part.as_of for part in result.proof.read}) == 2


class Told(Hold):
    price = StreamInput(A, window=30, allow_partial=True)
    mean = node(price, CLOSE.mean())

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        self.events.append(bar.closed)

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        self.events.append(gap)


HOLE = Span(START + 5 * HOUR, START + 6 * HOUR)


def test_missing_bars_are_refused_or_told(store: Path) -> None:
    fill(store, A, without=HOLE)
    with provider(store) as history:
        history.retract(A, *HOLE, reason="not there")
        with pytest.raises(MissingDataError) as caught:
            Runner.submit(Hold, history_provider=history, start=START, end=END)
        assert caught.value.span == HOLE
        assert "60 bars unknown" in str(caught.value)
        assert f"qmtl backfill {A} 2024-03-02T05:00:00Z 2024-03-02T06:00:00Z" in str(caught.value)
        told = Told()
        Runner.submit(told, history_provider=history, start=START, end=END)
    [place] = [at for at, event in enumerate(told.events) if isinstance(event, Gap)]
    assert told.events[place] == Gap(SeriesId.parse(A), HOLE, "unknown")
    assert told.events[place - 1] == HOLE.start
    assert told.events[place + 1] == HOLE.end + MINUTE


def test_too_few_bars_before_the_start_are_refused(store: Path) -> None:
    fill(store, A, B, first=START - 20 * MINUTE)
    fill(store, A_HOURS)
    with provider(store) as history, pytest.raises(MissingDataError) as caught:
        Runner.submit(Cross, history_provider=history, start=START, end=END)
    text = str(caught.value)
    assert "of the 50 bars before 2024-03-02 that windows need there are 20" in text
    assert caught.value.span == Span(START - 50 * MINUTE, START - 20 * MINUTE)
    assert [error.series for error in caught.value.others] == [B]


class Failing(Strategy):
    price = StreamInput(A, window=5)
    mean = node(price, CLOSE.mean())

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if bar.ts == START + 100 * MINUTE:
            raise KeyError("no such thing")


class FailingNode(Failing):
    bad = node(Failing.price, lambda window: window["nothing"].mean())


def test_what_a_strategy_raises_is_told_with_its_bar(store: Path) -> None:
    fill(store, A)
    with provider(store) as history:
        with pytest.raises(StrategyError, match=r"Failing\.on_bar raised KeyError") as caught:
            Runner.submit(Failing, history_provider=history, start=START, end=END)
        assert caught.value.bar_ts == START + 100 * MINUTE
        assert caught.value.nodes["mean"] == pytest.approx(
            history.fetch(A, START + 96 * MINUTE, START + 101 * MINUTE).frame["close"].mean()
        )
        with pytest.raises(StrategyError, match="node 'bad' raised ColumnNotFoundError"):
            Runner.submit(FailingNode, history_provider=history, start=START, end=END)


class Leaving(Strategy):
    price = StreamInput(A, window=5)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        sys.exit(0)


class Panicking(Strategy):
    """polars has no way to divide by nothing, and says so by an exception that is no `Exception`."""

    price = StreamInput(A, window=5)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        raise pl.exceptions.PanicException("cannot get ref")


@pytest.mark.parametrize(("strategy", "raised"), [(Leaving, "SystemExit"), (Panicking, "PanicException")])
def test_whatever_ends_a_strategy_is_told(store: Path, strategy: type[Strategy], raised: str) -> None:
    fill(store, A)
    with provider(store) as history, pytest.raises(StrategyError, match=f"on_bar raised {raised}") as told:
        Runner.submit(strategy, history_provider=history, start=START, end=END)
    assert told.value.bar_ts == START


def test_the_bar_at_which_a_strategy_failed_can_be_run_alone(store: Path) -> None:
    fill(store, A)
    with provider(store) as history:
        with pytest.raises(StrategyError) as caught:
            Runner.submit(Failing, history_provider=history, start=START, end=END)
        alone = caught.value.alone
        assert alone["start"] == "2024-03-02T01:40:00Z"
        assert alone["end"] == "2024-03-02T01:41:00Z"
        assert f"`as_of={alone['as_of']}`" in str(caught.value)
        with pytest.raises(StrategyError) as again:
            Runner.submit(Failing, history_provider=history, **alone)
        assert again.value.bar_ts == caught.value.bar_ts
        assert again.value.nodes == caught.value.nodes


def test_a_proof_is_verified_by_running_it_again(store: Path) -> None:
    fill(store, A, B, A_HOURS)
    with provider(store) as history:
        result = Runner.submit(Cross, history_provider=history, start=START, end=END, seed=3)
        # Bars are corrected afterwards: what was read then is read again.
        import_frame(store, history.fetch(A, START, END).frame.with_columns(close="high"), A)
        values = json.loads(json.dumps(result.proof.to_json()))
        assert Runner.verify(values, Cross, history_provider=history).proof == result.proof
        newer = Runner.submit(Cross, history_provider=history, start=START, end=END, seed=3)
        assert newer.proof != result.proof
        pinned = Runner.submit(
            Cross, history_provider=history, start=START, end=END, seed=3, as_of=result.proof.read[0].as_of
        )
        assert pinned.proof == result.proof


def test_a_proof_that_does_not_hold_says_what_differs(store: Path) -> None:
    fill(store, A, B, A_HOURS)
    with provider(store) as history:
        proof = Runner.submit(Cross, history_provider=history, start=START, end=END).proof
        [first, *others] = proof.read
        changed = dataclasses.replace(
            proof,
            outcome="blake3:other",
            read=(dataclasses.replace(first, fingerprint="blake3:none"), *others),
            versions={**proof.versions, "numpy": "0.1"},
        )
        with pytest.raises(ProofError) as caught:
            Runner.verify(changed, Cross, history_provider=history)
        numpy, read, outcome = caught.value.differences
        assert numpy.endswith(", 0.1 in the proof")
        assert (
            read == f"{A} {first.span} has the fingerprint {first.fingerprint} now, blake3:none in the proof"
        )
        assert outcome == f"outcome: {proof.outcome} now, blake3:other in the proof"
        with pytest.raises(ProofError, match="source: blake3"):
            Runner.verify(proof, Changed, history_provider=history)
        same = dataclasses.replace(proof, versions={**proof.versions, "numpy": "0.1"})
        Runner.verify(same, Cross, history_provider=history)


HELPED = """\
import qmtl

def size():
    return 0.5

class Helped(qmtl.Strategy):
    price = qmtl.StreamInput("ohlcv:mine:A:1m")

    def on_bar(self, bar, portfolio):
        portfolio.target(bar.series, size())
"""


def test_a_proof_covers_the_functions_beside_a_strategy(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(store, A)
    file = Path("helped.py")
    with provider(store) as history:
        file.write_text(HELPED)
        proof = submit(strategy_of_file("helped.py"), history_provider=history).proof
        of_before = {name: value for name, value in proof.to_json().items() if name != "module"}
        file.write_text(HELPED.replace("return 0.5", "return 1 / 2"))
        helped = strategy_of_file("helped.py")
        with pytest.raises(ProofError) as caught:
            Runner.verify(proof, helped, history_provider=history)
        [difference] = caught.value.differences
        assert difference.startswith("module: blake3:")
        # A proof of a time when the class alone was named is compared by what it names.
        assert Runner.verify(of_before, helped, history_provider=history).proof.source == proof.source


class Changed(Cross):
    """Decides as another strategy does, by another source."""


def test_a_pinned_run_asks_no_vendor(store: Path) -> None:
    from qmtl.runtime.testing import ScriptedVendor

    fill(store, A, without=HOLE)
    vendor = ScriptedVendor()
    with SeamlessDataProvider(store, vendors=vendor, progress=False) as history:
        history.retract(A, *HOLE, reason="not there")
        before = history.store.newest().as_of
        Runner.submit(Hold, history_provider=history, start=START, end=END)
        asked = len(vendor.calls)
        assert asked
        with pytest.raises(MissingDataError, match="60 bars unknown") as caught:
            Runner.submit(Hold, history_provider=history, start=START, end=END, as_of=before)
        assert "leave out `as_of=` to read what is stored now" in str(caught.value)
        assert len(vendor.calls) == asked


def test_what_retention_has_swept_cannot_be_verified(tmp_path: Path) -> None:
    bars = synthetic_bars(A, Span(FIRST, END))
    with EmbeddedStore(tmp_path / "bars", retention=0) as kept:
        import_frame(kept, bars, A)
        with SeamlessDataProvider(store=kept, vendors={}) as history:
            proof = Runner.submit(Hold, history_provider=history, start=START, end=END).proof
            import_frame(kept, bars.with_columns(volume=1.0), A)
            kept.compact()
            with pytest.raises(StoreError, match="retention"):
                Runner.verify(proof, Hold, history_provider=history)


def submit(strategy: Any, **options: Any) -> RunResult:
    return Runner.submit(strategy, **{"start": START, "end": END, **options})


class Empty(Strategy):
    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None: ...


class Preset(Hold):
    price = StreamInput(preset="majors")


class Silent(Strategy):
    price = StreamInput(A)


def test_what_cannot_be_run_is_refused_with_the_reason(store: Path) -> None:
    fill(store, A)
    with provider(store) as history:
        for strategy, options, says in (
            (Hold, {}, "input 'price' has no provider"),
            (Empty, {}, "Empty has no input"),
            (object(), {}, "is no strategy"),
            (Hold, {"start": END, "end": START, "history_provider": history}, "does not come before end"),
            (Hold, {"mode": "paper", "as_of": END}, "is given bars as they come"),
            (Hold, {"mode": "paper", "knowledge": "as_known"}, "is given bars as they come"),
            (Hold, {"mode": "paper", "history_provider": history}, "no live feed serves this series"),
            (Hold, {"resume": "run.state", "isolate": True}, "a run in a process of its own is not kept"),
            (Hold, {"mode": "live"}, "there are no feeds of exchanges yet"),
            (Hold, {"mode": "test"}, "mode='test' cannot be used"),
            (Hold, {"knowledge": "now"}, "knowledge='now' cannot be used"),
            (Hold, {"data_preset": "majors"}, "there is no world that has the preset 'majors'"),
            (Preset, {}, "input 'price' names the preset 'majors', and there is no world"),
        ):
            with pytest.raises(InvalidRequestError, match=says):
                submit(strategy, **options)
        with pytest.raises(InvalidRequestError, match="Silent has no on_bar"):
            submit(Silent, history_provider=history)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: StreamInput(A, window=0), "a window of 0 bars cannot be used"),
        (lambda: StreamInput(A, window=True), "a window of True bars cannot be used"),
        (lambda: StreamInput([]), "an input without a series"),
        (lambda: StreamInput("A"), "'A' is not a node id"),
        (lambda: StreamInput(A, preset="majors"), "series of its own, or those of a preset"),
        (lambda: node(A, CLOSE.mean()), "a node looks at an input"),  # type: ignore[arg-type]
        (lambda: node(StreamInput(A), 3), "3 is neither an expression nor a function"),  # type: ignore[arg-type]
        (lambda: FillModel(fee_bps=-1), "fee_bps=-1 cannot be used"),
        (lambda: FillModel(price="mid"), "price='mid' is not known"),  # type: ignore[arg-type]
        (lambda: Cross().fast, "node 'fast' of Cross has no value yet"),
        (lambda: Cross().value(Cross.fast, A), "there is no value before a run"),
    ],
)
def test_what_cannot_be_declared_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert says in str(caught.value)


def test_a_vendor_is_asked_for_what_a_run_lacks(store: Path) -> None:
    from qmtl.runtime.testing import ScriptedVendor

    vendor = ScriptedVendor()
    with SeamlessDataProvider(store, vendors=vendor, progress=False) as history:
        result = Runner.submit(Told, history_provider=history, start=START, end=END)
    assert result.figures.bars == 2 * 1440
