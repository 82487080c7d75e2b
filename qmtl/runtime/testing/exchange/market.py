"""The market behind the simulated exchange: trades, and bars that are exactly their roll-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Int64Array, Span
from qmtl.foundation.times import LATEST, MINUTE, SECOND, to_ns
from qmtl.runtime.testing.bars import ticks

MILLISECOND = SECOND // 1000

# Each minute with trades has four of them: at its open, its two extremes and its close.
TRADES_A_MINUTE = 4
_SLOT = MINUTE // TRADES_A_MINUTE

# At most this many minutes are worked on at once.
_BLOCK = 1 << 19


class Trade(NamedTuple):
    """One trade. Price in hundredths, quantity in thousandths, `ts` in nanoseconds."""

    id: int
    ts: int
    price: int
    quantity: int


class Bars(NamedTuple):
    """Bars as int64 arrays: ts in nanoseconds, prices in hundredths, volume in thousandths."""

    ts: Int64Array
    open: Int64Array
    high: Int64Array
    low: Int64Array
    close: Int64Array
    volume: Int64Array


@dataclass(frozen=True, slots=True)
class Correction:
    """What the exchange says of one minute since it thought again: whole numbers as in `Bars`."""

    open: int
    high: int
    low: int
    close: int
    volume: int


class Market:
    """The trades of one symbol, from `listed` until `now()`; the walk of `synthetic_bars`.

    symbol: as in a node id. listed: when trading began. seed: which walk.
    quiet: ranges without trades; every minute that it touches has none.
    quiet_share: the share of all other minutes, from 0 to 1, that have none, drawn by minute.
    now: the exchange's clock, in nanoseconds; what has not happened yet cannot be seen.
    """

    def __init__(
        self,
        symbol: str,
        now: Callable[[], int],
        *,
        listed: Any = "2017-08-17",
        seed: int = 0,
        quiet: Coverage = EMPTY,
        quiet_share: float = 0.0,
    ) -> None:
        self.symbol = symbol
        self.listed = -(-to_ns(listed) // MINUTE) * MINUTE
        self._now = now
        self._seed = seed
        self._quiet = quiet
        self._quiet_share = quiet_share
        self._corrections: dict[int, Correction] = {}

    def correct(self, at: Any, **values: float) -> None:
        """A late correction: from now on the minute at `at` has these values.

        They are open, high, low, close, volume; what is not named stays. Bars of every timeframe, and the
        trades, follow. Raises `InvalidRequestError` for bars that are impossible, or are not there.
        """
        minute = to_ns(at) // MINUTE
        before = self._minutes(minute, minute + 1)
        if len(before.ts) == 0:
            raise InvalidRequestError(f"there was no trade in the minute at {at!r}, so none can be corrected")
        names = ("open", "high", "low", "close", "volume")
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise InvalidRequestError(f"a bar has no {unknown}")
        was = {name: int(getattr(before, name)[0]) for name in names}
        scale = {"volume": 1000}
        corrected = {name: round(value * scale.get(name, 100)) for name, value in values.items()}
        new = Correction(**{**was, **corrected})
        if not 0 < new.low <= min(new.open, new.close) <= max(new.open, new.close) <= new.high:
            raise InvalidRequestError(
                f"{new} is no possible bar", next_step="use the fault `Altered` for impossible answers"
            )
        self._corrections[minute] = new

    def bars(self, timeframe: Timeframe, span: Span, *, limit: int | None = None) -> Bars:
        """The bars that open within `span`, oldest first, at most `limit`; the forming one is the last."""
        step, origin = timeframe.step, timeframe.origin
        first = max(span.start, (self.listed - origin) // step * step + origin)
        first += (origin - first) % step
        end = min(span.end, self._now())
        per_block = max(1, _BLOCK * MINUTE // step)
        # Only as many minutes are rolled up as can be requested; quiet ones may call for more.
        width = min(per_block, limit or per_block) * step
        parts: list[Bars] = []
        found = 0
        while first < end and (limit is None or found < limit):
            block = self._rolled_up(Span(first, min(first + width, end + (first - end) % step)), step, origin)
            parts.append(block)
            found += len(block.ts)
            first += width
            width = min(width * 2, per_block * step)
        return _first(_joined(parts), limit)

    def last_bars(self, timeframe: Timeframe, end: int, limit: int) -> Bars:
        """The last `limit` bars that open before `end`, oldest first; fewer where minutes are quiet."""
        step = timeframe.step
        end = min(end, self._now())
        wide = self.bars(
            timeframe, Span(max(self.listed - step, end - 4 * limit * step), max(end, self.listed))
        )
        return Bars(*(column[-limit:] for column in wide))

    def trades(self, span: Span, *, limit: int) -> list[Trade]:
        """The trades of `span`, oldest first, at most `limit`."""
        span = Span(max(span.start, self.listed), max(span.end, span.start, self.listed))
        found: list[Trade] = []
        minute = span.start // MINUTE
        last = -(-min(span.end, self._now()) // MINUTE)
        width = max(1, limit // TRADES_A_MINUTE + 1)
        while minute < last and len(found) < limit:
            trades = self._trades(minute, min(minute + width, last))
            keep = (trades[:, 1] >= span.start) & (trades[:, 1] < span.end)
            found += [Trade(*row) for row in trades[keep].tolist()]
            minute += width
        return found[:limit]

    def trades_from(self, first_id: int, *, limit: int) -> list[Trade]:
        """Trades with this id and later ones, oldest first, at most `limit`."""
        minute = max(first_id // TRADES_A_MINUTE * MINUTE, self.listed)
        later = self.trades(Span(minute, LATEST), limit=limit + TRADES_A_MINUTE)
        return [trade for trade in later if trade.id >= first_id][:limit]

    def last_trades(self, limit: int) -> list[Trade]:
        """The last trades, oldest first, at most `limit`; fewer where minutes are quiet."""
        now = self._now()
        minutes = 4 * (limit // TRADES_A_MINUTE + 1)
        start = max(self.listed, now - minutes * MINUTE)
        return self.trades(Span(start, max(start, now)), limit=minutes * TRADES_A_MINUTE)[-limit:]

    def _rolled_up(self, span: Span, step: int, origin: int) -> Bars:
        if step < MINUTE:
            trades = self._trades(span.start // MINUTE, -(-span.end // MINUTE))
            ts, price, quantity = trades[:, 1], trades[:, 2], trades[:, 3]
            keep = (ts >= span.start) & (ts < span.end)
            each = Bars(ts, price, price, price, price, quantity)
            return _roll_up(Bars(*(column[keep] for column in each)), step, origin)
        return _roll_up(self._minutes(span.start // MINUTE, span.end // MINUTE), step, origin)

    def _minutes(self, first: int, end: int) -> Bars:
        """The minutes with trades, from number `first` to `end`; the running one as far as it has come."""
        now = self._now()
        running = now // MINUTE
        whole = self._whole_minutes(first, min(end, running))
        if not first <= running < end:
            return whole
        trades = self._trades(running, running + 1)
        ts, price, quantity = trades[:, 1], trades[:, 2], trades[:, 3]
        return _joined([whole, _roll_up(Bars(ts, price, price, price, price, quantity), MINUTE, 0)])

    def _whole_minutes(self, first: int, end: int) -> Bars:
        first = max(first, self.listed // MINUTE)
        if first >= end:
            return _NO_BARS
        found = ticks(self.symbol, first, end - first, seed=self._seed)
        minutes = np.arange(first, end)
        columns = [found.open, found.high, found.low, found.close, found.volume]
        for minute, new in list(self._corrections.items()):
            if first <= minute < end:
                columns = [column.copy() for column in columns]
                values = (new.open, new.high, new.low, new.close, new.volume)
                for column, value in zip(columns, values, strict=True):
                    column[minute - first] = value
        traded = self._traded(minutes)
        return Bars(*(column[traded] for column in (minutes * MINUTE, *columns)))

    def _traded(self, minutes: Int64Array) -> npt.NDArray[np.bool_]:
        touched = self._quiet & Coverage.of(Span(minutes[0] * MINUTE, (minutes[-1] + 1) * MINUTE))
        quiet = Coverage((s // MINUTE * MINUTE, -(-e // MINUTE) * MINUTE) for s, e in touched)
        traded = ~quiet.holds(minutes * MINUTE)
        if self._quiet_share > 0.0:
            traded &= _draws(minutes, 1) >= self._quiet_share
        return traded

    def _trades(self, first: int, end: int) -> Int64Array:
        """Trades of whole minutes, as far as they have happened: columns id, ts, price, quantity."""
        bars = self._whole_minutes(first, end)
        n = len(bars.ts)
        minutes = bars.ts // MINUTE
        number = np.arange(TRADES_A_MINUTE)
        # The high comes before the low in every other minute.
        rising = minutes % 2 == 0
        price = np.stack(
            [
                bars.open,
                np.where(rising, bars.low, bars.high),
                np.where(rising, bars.high, bars.low),
                bars.close,
            ],
            axis=1,
        )
        part = bars.volume // TRADES_A_MINUTE
        quantity = np.stack([part, part, part, bars.volume - 3 * part], axis=1)
        jitter = (_draws(minutes, 2) * (_SLOT // MILLISECOND)).astype(np.int64) * MILLISECOND
        ts = bars.ts[:, None] + number * _SLOT + jitter[:, None]
        ids = minutes[:, None] * TRADES_A_MINUTE + number
        table = np.stack([ids, ts, price, quantity], axis=2).reshape(n * TRADES_A_MINUTE, 4)
        return table[table[:, 1] < self._now()]


def _draws(minutes: Int64Array, salt: int) -> npt.NDArray[np.float64]:
    """One number from 0 to 1 per minute, always the same."""
    z = (minutes.astype(np.uint64) + np.uint64(salt << 40)) * np.uint64(0x9E37_79B9_7F4A_7C15)
    z = (z ^ (z >> np.uint64(29))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    drawn: npt.NDArray[np.float64] = (z >> np.uint64(40)) / 2.0**24
    return drawn


def _roll_up(fine: Bars, step: int, origin: int) -> Bars:
    """Bars of `step` nanoseconds from finer ones in order; where there is none, none is made."""
    if len(fine.ts) == 0:
        return _NO_BARS
    opens = (fine.ts - origin) // step * step + origin
    begins = np.concatenate([[0], np.flatnonzero(np.diff(opens)) + 1])
    lasts = np.append(begins[1:], len(opens)) - 1
    return Bars(
        opens[begins],
        fine.open[begins],
        np.maximum.reduceat(fine.high, begins),
        np.minimum.reduceat(fine.low, begins),
        fine.close[lasts],
        np.add.reduceat(fine.volume, begins),
    )


def _joined(parts: Sequence[Bars]) -> Bars:
    return Bars(*(np.concatenate(columns) for columns in zip(*parts, strict=True))) if parts else _NO_BARS


def _first(bars: Bars, limit: int | None) -> Bars:
    return bars if limit is None else Bars(*(column[:limit] for column in bars))


_NO_BARS = Bars(*(np.zeros(0, dtype=np.int64) for _ in range(6)))
