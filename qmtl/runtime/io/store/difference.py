"""How rows differ from others: what a write changes, and what changed between two commits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from qmtl.foundation.frames import TS, VALUES
from qmtl.runtime.io.store.rows import NO_ROWS, Rows, find, join, same_values


class Difference(NamedTuple):
    """How rows differ from what is stored; `fresh` are those that are new or changed.

    old, new: the changed rows as they were and as they are, in order of time.
    """

    added: int
    unchanged: int
    old: Rows
    new: Rows
    fresh: Rows
    same: npt.NDArray[np.bool_]  # for each row, whether it is stored with the same values


def all_new(rows: Rows) -> Difference:
    """Of rows that meet nothing, such as a live bar at the end of its series."""
    return Difference(rows.size, 0, NO_ROWS, NO_ROWS, rows, np.zeros(rows.size, dtype=bool))


class Comparison:
    """Rows compared with stored ones, which may come in several parts and in any order."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._same = np.zeros(rows.size, dtype=bool)
        self._changed: list[tuple[Rows, Rows]] = []

    def meet(self, stored: Rows) -> None:
        """Compare with stored rows. No two parts may share a stamp."""
        if not stored.size or not self._rows.size:
            return
        first, last = np.searchsorted(self._rows.ts, [stored.ts[0], stored.ts[-1] + 1]).tolist()
        mine = self._rows.cut(first, last)
        at = find(stored.ts, mine.ts)
        old, new = (stored, mine) if _all_met(at, stored) else (stored.pick(at[at >= 0]), mine.pick(at >= 0))
        equal = same_values(old, new)
        self._same[first:last][at >= 0] = equal
        if not equal.any():
            self._changed.append((old, new))
        elif not equal.all():
            self._changed.append((old.pick(~equal), new.pick(~equal)))

    def difference(self) -> Difference:
        """The outcome, once all parts were met."""
        old, new = _in_order([o for o, _ in self._changed]), _in_order([n for _, n in self._changed])
        unchanged = int(self._same.sum())
        return Difference(
            added=self._rows.size - unchanged - old.size,
            unchanged=unchanged,
            old=old,
            new=new,
            fresh=self._rows if not unchanged else self._rows.pick(~self._same),
            same=self._same,
        )


def _all_met(at: npt.NDArray[np.intp], stored: Rows) -> bool:
    """Whether our rows are those stored, one by one: the common case, which needs no copies."""
    return len(at) == stored.size and bool((at >= 0).all())


def _in_order(parts: list[Rows]) -> Rows:
    rows = join(parts)
    is_sorted = bool((rows.ts[1:] > rows.ts[:-1]).all())
    return rows if is_sorted else rows.pick(np.argsort(rows.ts, kind="stable"))


_VALUE_PAIRS = [(side, name) for side in ("old", "new") for name in VALUES]
NOTHING_REPLACED = pl.DataFrame(schema={"ts": TS, **{f"{s}_{n}": pl.Float64() for s, n in _VALUE_PAIRS}})


def replaced_frame(old: Rows, new: Rows) -> pl.DataFrame:
    """Columns `ts`, `old_open` ... `old_volume`, `new_open` ... `new_volume`."""
    if not old.size:
        return NOTHING_REPLACED.clone()
    columns = [pl.Series("ts", old.ts).cast(TS)]
    for (side, name), values in zip(_VALUE_PAIRS, [*old[1:], *new[1:]], strict=True):
        # Only a volume may be missing: see `Rows`.
        columns.append(pl.Series(f"{side}_{name}", values, nan_to_null=name == "volume"))
    return pl.DataFrame(columns)


def changes_between(before: Rows, after: Rows) -> pl.DataFrame:
    """Columns `ts`, `change` (added, removed, changed), `old_open` ..., `new_open` ...; sorted by `ts`."""
    at = find(after.ts, before.ts)
    removed = before.pick(at < 0)
    added = after.pick(find(before.ts, after.ts) < 0)
    old, new = before.pick(at >= 0), after.pick(at[at >= 0])
    differs = ~same_values(old, new)
    old, new = old.pick(differs), new.pick(differs)
    kinds = ["removed"] * removed.size + ["added"] * added.size + ["changed"] * old.size
    ts = np.concatenate([removed.ts, added.ts, old.ts])
    order = np.argsort(ts, kind="stable")
    columns = [
        pl.Series("ts", ts[order]).cast(TS),
        pl.Series("change", [kinds[i] for i in order], dtype=pl.String),
    ]
    sides = {"old": (removed, _missing(added.size), old), "new": (_missing(removed.size), added, new)}
    for side, parts in sides.items():
        for name in VALUES:
            values = np.concatenate([getattr(part, name) for part in parts])[order]
            columns.append(pl.Series(f"{side}_{name}", values, nan_to_null=True))
    return pl.DataFrame(columns)


def _missing(count: int) -> Rows:
    """Rows that are not there on one side."""
    return Rows(np.zeros(count, np.int64), *(np.full(count, np.nan) for _ in VALUES))
