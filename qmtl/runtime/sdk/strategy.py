"""What a strategy is made of: inputs, nodes that look at them, and what it does when a bar has closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qmtl.foundation.arguments import check_flag, check_kind, unusable
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.sdk.fetching import series_of

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from qmtl.runtime.replay.bars import Bar, Gap, Revision
    from qmtl.runtime.replay.portfolio import Portfolio
    from qmtl.runtime.replay.weights import Weights
    from qmtl.runtime.sdk.provider import SeamlessDataProvider


class StreamInput:
    """Bars that a strategy is given, of one or several series; an attribute of its class.

    series: a node id, or several. preset: the id of a preset of the world instead. Without either it is the
        `data_preset` of the run, or the only preset of the world.
    window: how many bars a node of this input sees: the newest one and those before it. The first bar is
        delivered once every window is whole.
    history_provider: where its bars come from; without one, from the provider of the run.
    allow_partial: bars that nobody has are told by `on_gap`, and findings do not raise. Otherwise the run
        does not begin.

    Raises `InvalidRequestError` for what cannot be used.
    """

    name: str

    def __init__(
        self,
        series: str | SeriesId | Iterable[str | SeriesId] | None = None,
        *,
        preset: str | None = None,
        window: int = 1,
        history_provider: SeamlessDataProvider | None = None,
        allow_partial: bool = False,
    ) -> None:
        _check_window(window)
        check_kind("preset", preset, str, "the id of a preset of the world")
        check_flag("allow_partial", allow_partial)
        if history_provider is not None:  # most have none: a module is saved that is slow to import
            _check_provider(history_provider)
        names = [series] if isinstance(series, str | SeriesId) else _several(series)
        self.series = tuple(dict.fromkeys(map(series_of, names)))
        self.preset = preset
        if series is not None and preset is not None:
            raise InvalidRequestError(
                "an input has series of its own, or those of a preset", next_step="leave out one of them"
            )
        if series is not None and not self.series:
            raise InvalidRequestError(
                "an input without a series gives no bars",
                next_step="name a series: ohlcv:binance:BTC/USDT:1m",
            )
        self.window = window
        self.history_provider = history_provider
        self.allow_partial = allow_partial

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


def _check_window(window: object) -> None:
    if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= _LONGEST:
        raise InvalidRequestError(
            f"a window of {window!r} bars cannot be used",
            next_step=f"give a whole number from 1 to {_LONGEST:,}",
        )


def _several(series: object) -> list[Any]:
    if series is None:
        return []
    if not isinstance(series, Iterable) or isinstance(series, bytes | Mapping):
        raise unusable("series", series, "name a series, or several: ohlcv:binance:BTC/USDT:1m")
    return list(series)


def _check_provider(given: object) -> None:
    from qmtl.runtime.sdk.provider import SeamlessDataProvider

    give = "a provider: qmtl.SeamlessDataProvider(store=...)"
    check_kind("history_provider", given, SeamlessDataProvider, give)


# A node over more bars than this needs a gigabyte for its windows alone.
_LONGEST = 100_000


class Node:
    """A value that is worked out of the window of each bar; made by `node`."""

    name: str

    def __init__(self, source: StreamInput, value: pl.Expr | Callable[[pl.DataFrame], Any]) -> None:
        self.source = source
        self.value = value

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    # A run puts values into the instance, where Python finds them before it asks here.
    def __get__(self, strategy: Strategy | None, owner: type) -> Any:
        if strategy is None:
            return self
        raise InvalidRequestError(
            f"node {self.name!r} of {owner.__name__} has no value yet",
            why="it gets one with the first bar of a run",
            next_step="use it within on_bar",
        )


def node(source: StreamInput, value: pl.Expr | Callable[[pl.DataFrame], Any]) -> Any:
    """A node of an input: an expression of polars, or a pure function of the window.

    value: an expression that gives one value for a frame of `window` bars, such as
        `pl.col("close").tail(20).mean()`; or a function that is given the frame (`ts` Datetime("ns", "UTC"),
        `open high low close volume` Float64, ascending). At a bar `self.<name>` is its value: of the series
        of that bar, of the same instrument in the node's input, or of the only series that this input has;
        None where there is none of these.
    """
    import polars as pl

    if not isinstance(source, StreamInput):
        raise InvalidRequestError(
            f"a node looks at an input, not at {source!r}", next_step="give it a StreamInput of the strategy"
        )
    if not isinstance(value, pl.Expr) and not callable(value):
        raise InvalidRequestError(
            f"{value!r} is neither an expression nor a function",
            next_step='write pl.col("close").mean(), or lambda window: window["close"].mean()',
        )
    return Node(source, value)


class Strategy:
    """Subclass it: `StreamInput` and `node` as attributes of the class, and `on_bar` or `target`.

    target: an expression of nodes, by their names, for strategies that decide by nothing else:
        `pl.when(pl.col("fast") > pl.col("slow")).then(1.0).otherwise(0.0)`. Each bar does what an `on_bar`
        would: `portfolio.target(bar.series, weight)`, with the weight it gives for the values of this bar.

    A strategy sees bars in the order of their closes, those that close together in the order of its inputs
    and their series. `self.random` is a `numpy.random.Generator`, seeded by the run.
    """

    random: np.random.Generator
    target: pl.Expr | None = None

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        """Called when a bar has closed, with the values of all nodes at that moment."""
        raise NotImplementedError(f"{type(self).__name__} has no on_bar(self, bar, portfolio), and no target")

    def on_gap(self, gap: Gap, portfolio: Portfolio) -> None:
        """Called when the last of some bars that nobody has should have closed, with `allow_partial`.

        With `knowledge="as_known"` it is called once a later bar is known, also for bars that come late.
        """

    def on_revision(self, revision: Revision, portfolio: Portfolio) -> None:
        """Called when what is known of a bar changes, with `knowledge="as_known"`; nodes have new values."""

    def value(self, of: Node, series: str | SeriesId) -> Any:
        """What a node is worth now for another series: `self.value(Cross.fast, "ohlcv:...")`."""
        run = self.__dict__.get("_run")
        if run is None:
            raise InvalidRequestError("there is no value before a run", next_step="use it within on_bar")
        return run.value(of.name, series_of(series))


def inputs_of(strategy: Strategy) -> list[StreamInput]:
    """The inputs of a strategy, those of its base classes first, in the order in which they are declared."""
    return [value for value in declared(strategy).values() if isinstance(value, StreamInput)]


def nodes_of(strategy: Strategy) -> list[Node]:
    """The nodes of a strategy, as `inputs_of`."""
    return [value for value in declared(strategy).values() if isinstance(value, Node)]


def weights_of(strategy: Strategy) -> Weights | None:
    """What decides in place of `on_bar`, if that is an expression. Raises `InvalidRequestError`."""
    import polars as pl

    from qmtl.runtime.replay.weights import Weights

    target, name = strategy.target, type(strategy).__name__
    if target is None:
        return None
    if not isinstance(target, pl.Expr):
        raise InvalidRequestError(
            f"the target of {name} is {target!r}, and no expression",
            next_step='write pl.when(pl.col("fast") > pl.col("slow")).then(1.0).otherwise(0.0)',
        )
    if _has_own(strategy, "on_bar"):
        raise InvalidRequestError(
            f"{name} has a target, and an on_bar of its own", next_step="leave out one of them"
        )
    return Weights(target, [node.name for node in nodes_of(strategy)])


def decides(strategy: Strategy) -> bool:
    """Whether it has an `on_bar` of its own, or a target."""
    return strategy.target is not None or _has_own(strategy, "on_bar")


def listens(strategy: Strategy) -> bool:
    """Whether it is to be told of gaps or of revisions."""
    return _has_own(strategy, "on_gap") or _has_own(strategy, "on_revision")


def _has_own(strategy: Strategy, method: str) -> bool:
    return method in vars(strategy) or getattr(type(strategy), method) is not getattr(Strategy, method)


def declared(strategy: Strategy) -> dict[str, StreamInput | Node]:
    """The inputs and nodes of its class, by the names of their attributes."""
    found: dict[str, Any] = {}
    for owner in reversed(type(strategy).__mro__):
        found.update(vars(owner))
    return {name: of for name, of in found.items() if isinstance(of, StreamInput | Node)}
