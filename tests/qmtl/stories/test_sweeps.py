"""Many sets of parameters run over history that is read once, each as it would run by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl import (
    Bar,
    InvalidRequestError,
    MissingDataError,
    Portfolio,
    Runner,
    SeamlessDataProvider,
    Span,
    Strategy,
    StreamInput,
    import_frame,
    node,
)
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.testing import synthetic_bars

A, B, HOURS = "ohlcv:mine:A:1m", "ohlcv:mine:B:1m", "ohlcv:mine:A:1h"
FIRST, START, END = (to_ns(day) for day in ("2024-03-01", "2024-03-02", "2024-03-03"))
CLOSE = pl.col("close")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[SeamlessDataProvider]:
    for name in (A, B, HOURS):
        import_frame(tmp_path / "store", synthetic_bars(name, Span(FIRST, END)), name)
    with SeamlessDataProvider(tmp_path / "store", vendors={}) as provider:
        yield provider


def crossing(fast: int, slow: int) -> type[Strategy]:
    class Crossing(Strategy):
        price = StreamInput(A, window=slow)
        hours = StreamInput(HOURS, window=max(2, slow // 20))
        quick = node(price, CLOSE.tail(fast).mean())
        calm = node(price, CLOSE.mean())
        trend = node(hours, CLOSE.last() - CLOSE.first())
        target = pl.when(pl.col("quick") > pl.col("calm")).then(0.5).otherwise(0.0)

    return Crossing


SETS = [{"fast": fast, "slow": slow} for fast in (1, 5, 10) for slow in (20, 77)]


def test_each_set_comes_to_what_it_comes_to_by_itself(history: SeamlessDataProvider) -> None:
    options = {"history_provider": history, "start": START, "end": END}
    found = list(Runner.sweep(crossing, SETS, **options))
    assert len(found) == len(SETS)
    for of, swept in zip(SETS, found, strict=True):
        alone = Runner.submit(crossing(**of), **options)
        assert swept.proof == alone.proof
        assert swept.fills.equals(alone.fills)
        assert swept.equity.equals(alone.equity)
        assert Runner.verify(swept.proof, crossing(**of), history_provider=history).proof == alone.proof
    assert len({result.proof.outcome for result in found}) > 3


def test_history_is_read_once(history: SeamlessDataProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    for verb in ("read", "read_many"):
        asked = getattr(EmbeddedStore, verb)

        def counted(
            self: EmbeddedStore, *args: Any, _asked: Any = asked, _verb: str = verb, **how: Any
        ) -> Any:
            reads[_verb] += 1
            return _asked(self, *args, **how)

        monkeypatch.setattr(EmbeddedStore, verb, counted)
    options = {"history_provider": history, "start": START, "end": END}
    list(Runner.sweep(crossing, SETS[-1:], **options))
    of_one, reads = reads.copy(), Counter()
    assert sum(of_one.values()) > 0
    with SeamlessDataProvider(history.store, vendors={}) as fresh:
        list(Runner.sweep(crossing, SETS * 5, **{**options, "history_provider": fresh}))
    assert sum(reads.values()) <= sum(of_one.values())


class Threshold(Strategy):
    price = StreamInput([A, B], window=5)
    mean = node(price, CLOSE.mean())

    def __init__(self, above: float) -> None:
        self.above = above

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        if self.random.random() < 0.1:
            portfolio.target(bar.series, 0.5 if bar.close > self.mean + self.above else 0.0)


def test_a_class_takes_its_parameters_itself(history: SeamlessDataProvider) -> None:
    options = {"history_provider": history, "start": START, "end": END, "seed": 3}
    sets = [{"above": 0.0}, {"above": 0.1}]
    for of, swept in zip(sets, Runner.sweep(Threshold, sets, **options), strict=True):
        assert swept.proof == Runner.submit(Threshold(**of), **options).proof


def test_what_cannot_be_run_is_refused_before_the_first_run(history: SeamlessDataProvider) -> None:
    options = {"history_provider": history, "start": START, "end": END}
    assert list(Runner.sweep(crossing, [], **options)) == []
    with pytest.raises(MissingDataError, match="that windows need"):
        next(Runner.sweep(crossing, [*SETS, {"fast": 2, "slow": 2_000}], **options))
    with pytest.raises(InvalidRequestError, match="is no strategy"):
        next(Runner.sweep(lambda: None, [{}], **options))  # type: ignore[arg-type,return-value]
