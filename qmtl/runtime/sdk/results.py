"""What one fetch gives: the frame, what it covers, its receipt and its report."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.pickled import pickled
from qmtl.foundation.states import BarStates
from qmtl.foundation.texts import MOST_LINES, WIDEST, fact_lines, on_screen
from qmtl.runtime.conformance.report import ConformanceReport
from qmtl.runtime.sdk.loop_thread import result_of
from qmtl.runtime.sdk.receipt import Receipt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


# Of the frame, beneath its receipt.
_ROWS_SHOWN = 5


class Pending:
    """Work that goes on behind a PARTIAL_FILL answer; done at once where nothing was missing."""

    def __init__(self, future: Future[None] | None) -> None:
        self._future = future

    @property
    def done(self) -> bool:
        """Whether nothing goes on any more."""
        return self._future is None or self._future.done()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the holes have been asked for. Raises what the vendor raised, or `TimeoutError`."""
        if self._future is None:
            return
        if timeout is None:
            result_of(self._future)
        else:
            self._future.result(timeout)

    def cancel(self) -> None:
        """Stop asking; what was committed stays."""
        if self._future is not None:
            self._future.cancel()

    def __reduce__(self) -> tuple[Any, ...]:
        future = self._future
        if future is None:
            return pickled(Pending, None)
        if not future.done():
            raise InvalidRequestError(
                "an answer cannot be copied while its holes are being asked for",
                why="the work goes on in this process, for this provider",
                next_step="call `r.pending.wait()` or `r.pending.cancel()` first",
            )
        return pickled(_ended, CancelledError() if future.cancelled() else future.exception())


def _ended(error: BaseException | None) -> Pending:
    """Work that has come to this end."""
    future: Future[None] = Future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return Pending(future)


NOTHING_PENDING = Pending(None)


@dataclass(frozen=True, eq=False, init=False)
class FetchResult:
    """The answer to one fetch: whole once it is given, whatever happens to the provider and the store.

    It can be pickled and deep-copied, except while its holes are being asked for.
    """

    pending: Pending = NOTHING_PENDING
    _frame: pl.DataFrame = field(kw_only=True, repr=False)
    _receipt: Callable[[], Receipt] = field(kw_only=True, repr=False)
    _states: Callable[[], BarStates] = field(kw_only=True, repr=False)
    _report: Callable[[], ConformanceReport] = field(kw_only=True, repr=False)

    def __init__(
        self,
        pending: Pending = NOTHING_PENDING,
        *,
        _frame: pl.DataFrame,
        _receipt: Callable[[], Receipt],
        _states: Callable[[], BarStates],
        _report: Callable[[], ConformanceReport],
    ) -> None:
        # In half the time that a frozen dataclass takes; each answer from the cache makes one.
        own = self.__dict__
        own["_frame"], own["_receipt"], own["pending"] = _frame, _receipt, pending
        own["_states"], own["_report"] = _states, _report

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The bars: polars, yours to change; fingerprint, report and other answers stay as they are.

        `ts` Datetime("ns", "UTC"), `open high low close volume` Float64, sorted, unique, within
        `[start, end)`; with `fill=` also `filled` Boolean.
        """
        return self._frame.clone()  # the cache has the rows as well; columns are copied once one is changed

    @cached_property
    def receipt(self) -> Receipt:
        """Who served what, in which time; put together when first asked for, of what the fetch has noted."""
        return self._receipt()

    @cached_property
    def coverage(self) -> BarStates:
        """The five states of each bar of the range."""
        return self._states()

    @cached_property
    def report(self) -> ConformanceReport:
        """What the conformance pipeline found; put together when first asked for."""
        return self._report()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FetchResult)
            and self.receipt == other.receipt
            and self._frame.equals(other._frame)
            and self.coverage == other.coverage
            and self.report == other.report
        )

    __hash__ = None  # type: ignore[assignment]  # frames have none

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(_restored, self._frame, self.receipt, self.pending, self.coverage, self.report)

    def to_pandas(self) -> pd.DataFrame:
        """A pandas frame, indexed by `ts`."""
        return self._frame.to_pandas().set_index("ts")

    def to_arrow(self) -> pa.Table:
        """An Arrow table."""
        return self._frame.to_arrow()

    def __repr__(self) -> str:
        with pl.Config(tbl_rows=_ROWS_SHOWN, tbl_width_chars=WIDEST):
            rows = str(self._frame)
        facts = on_screen(fact_lines(self.receipt.lines()), most=MOST_LINES - len(rows.splitlines()))
        return f"{facts}\n{rows}"

    def _repr_html_(self) -> str:
        return self.receipt._repr_html_() + self._frame._repr_html_()


def _restored(
    frame: pl.DataFrame, receipt: Receipt, pending: Pending, states: BarStates, report: ConformanceReport
) -> FetchResult:
    return FetchResult(
        pending, _frame=frame, _receipt=lambda: receipt, _states=lambda: states, _report=lambda: report
    )


def fill_no_trade(
    frame: pl.DataFrame, states: BarStates, how: str, *, has_volume: bool, earlier_close: float | None
) -> pl.DataFrame:
    """The frame with a row for each `no_trade` bar, marked `filled`.

    "null" leaves prices null; "flat" repeats the close before it with volume zero (null if the source has no
    volumes), and leaves the row out where there is no earlier close. earlier_close: the last one before the
    range, if the store holds any.
    """
    ts = pl.Series("ts", states.grid.stamps(states.no_trade), dtype=pl.Int64).cast(frame.schema["ts"])
    gaps = pl.DataFrame({"ts": ts}).with_columns(filled=pl.lit(True))
    whole = (
        pl.concat([frame.with_columns(filled=pl.lit(False)), gaps], how="diagonal")
        .sort("ts")
        .select(*frame.columns, "filled")
    )
    if how == "null":
        return whole
    before = pl.col("close").forward_fill().fill_null(pl.lit(earlier_close))
    flat = [
        pl.when("filled").then(before).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close")
    ]
    volume = pl.when("filled").then(0.0 if has_volume else None).otherwise(pl.col("volume")).alias("volume")
    return whole.with_columns(*flat, volume).filter(~pl.col("filled") | pl.col("close").is_not_null())
