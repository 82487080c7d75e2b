"""Which bars of a range are flagged, and by which rule: sparse, sorted, cheap to cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.foundation.words import counted
from qmtl.runtime.conformance.rules import CODE_OF, RULE_IDS

Codes = npt.NDArray[np.int16]

_NO_SPANS: Mapping[str, Coverage] = MappingProxyType({})


class Flags:
    """Flags among bars. Immutable.

    ts: int64 nanoseconds of the flagged bars, ascending; a bar that breaks two rules is there twice.
    codes: int16, as long as `ts`: the rule of each flag, as its place in `RULE_IDS`.
    spans: for rules of frequency (silence), the cells that the rule names.
    unchecked: per rule, the cells that could not be judged because neighbours are missing.
    """

    __slots__ = ("codes", "spans", "ts", "unchecked")

    def __init__(
        self,
        ts: Int64Array,
        codes: Codes,
        spans: Mapping[str, Coverage] = _NO_SPANS,
        unchecked: Mapping[str, Coverage] = _NO_SPANS,
    ) -> None:
        self.ts = ts
        self.codes = codes
        self.spans = spans
        self.unchecked = unchecked

    @classmethod
    def of(
        cls,
        found: Mapping[str, Int64Array],
        spans: Mapping[str, Coverage] = _NO_SPANS,
        unchecked: Mapping[str, Coverage] = _NO_SPANS,
    ) -> Flags:
        """From the flagged stamps of each rule. `EMPTY_FLAGS` if there are none at all."""
        non_empty = {rule: ts for rule, ts in found.items() if len(ts)}
        spans = {rule: cells for rule, cells in spans.items() if cells}
        unchecked = {rule: cells for rule, cells in unchecked.items() if cells}
        if not non_empty and not spans and not unchecked:
            return EMPTY_FLAGS
        ts = np.concatenate([_NO_TS, *non_empty.values()])
        codes = np.repeat(
            np.array([CODE_OF[rule] for rule in non_empty], dtype=np.int16),
            [len(stamps) for stamps in non_empty.values()],
        )
        order = np.lexsort((codes, ts))
        return cls(ts[order], codes[order], spans, unchecked)

    @classmethod
    def joined(cls, parts: Iterable[Flags]) -> Flags:
        """The flags of ranges that follow one another."""
        non_empty = [part for part in parts if part is not EMPTY_FLAGS]
        if len(non_empty) < 2:
            return non_empty[0] if non_empty else EMPTY_FLAGS
        return cls(
            np.concatenate([part.ts for part in non_empty]),
            np.concatenate([part.codes for part in non_empty]),
            _union([part.spans for part in non_empty]),
            _union([part.unchecked for part in non_empty]),
        )

    def clip(self, span: Span) -> Flags:
        """The flags of the bars that open within `span`, and the part of the spans inside it."""
        if self is EMPTY_FLAGS:
            return self
        first, last = self.ts.searchsorted((span.start, span.end))
        spans = _clipped(self.spans, span)
        unchecked = _clipped(self.unchecked, span)
        if first == last and not spans and not unchecked:
            return EMPTY_FLAGS
        return Flags(self.ts[first:last], self.codes[first:last], spans, unchecked)

    def moved(self, by: int) -> Flags:
        """The same flags, so many nanoseconds later."""
        if self is EMPTY_FLAGS or by == 0:
            return self
        return Flags(self.ts + by, self.codes, _moved(self.spans, by), _moved(self.unchecked, by))

    def rules(self) -> tuple[str, ...]:
        """The rules that flag something, in catalogue order."""
        counts = np.bincount(self.codes, minlength=len(RULE_IDS)).tolist()  # np.unique would load numpy.ma
        return tuple(
            rule for rule, count in zip(RULE_IDS, counts, strict=True) if count or rule in self.spans
        )

    def stamps(self, rule: str) -> Int64Array:
        """The bars that a rule flags: ascending int64 nanoseconds."""
        chosen: Int64Array = self.ts[self.codes == CODE_OF[rule]]
        return chosen

    def filter(self, keep: npt.NDArray[np.bool_], spans: Mapping[str, Coverage]) -> Flags:
        """The flags where `keep` (one boolean per flag) is true, and `spans` in place of these spans."""
        spans = {rule: cells for rule, cells in spans.items() if cells}
        return Flags(self.ts[keep], self.codes[keep], spans, self.unchecked)

    def __bool__(self) -> bool:
        return self is not EMPTY_FLAGS and (len(self.ts) > 0 or bool(self.spans))

    def __len__(self) -> int:
        """Flags of single bars; spans are not counted."""
        return len(self.ts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Flags):
            return NotImplemented
        return (
            np.array_equal(self.ts, other.ts)
            and np.array_equal(self.codes, other.codes)
            and dict(self.spans) == dict(other.spans)
            and dict(self.unchecked) == dict(other.unchecked)
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays, and is never a key

    def __repr__(self) -> str:
        counts = {rule: int((self.codes == CODE_OF[rule]).sum()) for rule in self.rules()}
        shown = [
            f"{rule} in {counted(len(self.spans[rule]), 'span')}"
            if rule in self.spans
            else f"{rule} {count:,}"
            for rule, count in counts.items()
        ]
        return f"Flags({', '.join(shown) or 'none'})"


_NO_TS: Int64Array = np.zeros(0, dtype=np.int64)
EMPTY_FLAGS = Flags(_NO_TS, np.zeros(0, dtype=np.int16))


def _clipped(spans: Mapping[str, Coverage], span: Span) -> Mapping[str, Coverage]:
    if not spans:
        return _NO_SPANS
    cut = {rule: cells.clip(span) for rule, cells in spans.items()}
    return {rule: cells for rule, cells in cut.items() if cells} or _NO_SPANS


def _moved(spans: Mapping[str, Coverage], by: int) -> Mapping[str, Coverage]:
    return {rule: Coverage.from_arrays(cells.starts + by, cells.ends + by) for rule, cells in spans.items()}


def _union(parts: list[Mapping[str, Coverage]]) -> Mapping[str, Coverage]:
    union: dict[str, Coverage] = {}
    for part in parts:
        for rule, cells in part.items():
            union[rule] = union[rule] | cells if rule in union else cells
    return union or _NO_SPANS
