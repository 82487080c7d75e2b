"""Which bars of a stretch are flagged, and by which rule: sparse, sorted, cheap to cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from qmtl.foundation.timeline import Coverage, Int64Array, Span
from qmtl.runtime.conformance.rules import CODE_OF, RULE_IDS

Codes = npt.NDArray[np.int16]

_NO_SPANS: Mapping[str, Coverage] = MappingProxyType({})


class Flags:
    """Flags among bars. Immutable.

    ts: int64 nanoseconds of the flagged bars, ascending; a bar that breaks two rules is there twice.
    codes: int16, as long as `ts`: the rule of each flag, as its place in `RULE_IDS`.
    spans: for rules of frequency (silence), the cells that the rule names.
    unchecked: per rule, the cells that could not be judged for want of neighbours.
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
        """From the flagged stamps of each rule. Nothing at all gives `EMPTY_FLAGS`."""
        hit = {rule: ts for rule, ts in found.items() if len(ts)}
        spans = {rule: cells for rule, cells in spans.items() if cells}
        unchecked = {rule: cells for rule, cells in unchecked.items() if cells}
        if not hit and not spans and not unchecked:
            return EMPTY_FLAGS
        ts = np.concatenate([_NO_TS, *hit.values()])
        codes = np.repeat(
            np.array([CODE_OF[rule] for rule in hit], dtype=np.int16),
            [len(stamps) for stamps in hit.values()],
        )
        order = np.lexsort((codes, ts))
        return cls(ts[order], codes[order], spans, unchecked)

    @classmethod
    def joined(cls, parts: Iterable[Flags]) -> Flags:
        """The flags of stretches that follow one another."""
        full = [part for part in parts if part is not EMPTY_FLAGS]
        if len(full) < 2:
            return full[0] if full else EMPTY_FLAGS
        return cls(
            np.concatenate([part.ts for part in full]),
            np.concatenate([part.codes for part in full]),
            _united([part.spans for part in full]),
            _united([part.unchecked for part in full]),
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

    def rules(self) -> tuple[str, ...]:
        """The rules that flag something, in catalogue order."""
        present = {RULE_IDS[code] for code in np.unique(self.codes).tolist()} | set(self.spans)
        return tuple(rule for rule in RULE_IDS if rule in present)

    def stamps(self, rule: str) -> Int64Array:
        """The bars that a rule flags: ascending int64 nanoseconds."""
        chosen: Int64Array = self.ts[self.codes == CODE_OF[rule]]
        return chosen

    def only(self, keep: npt.NDArray[np.bool_], spans: Mapping[str, Coverage]) -> Flags:
        """The flags where `keep` (one per flag) is true, with other spans."""
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

    __hash__ = None  # type: ignore[assignment]  # holds arrays; nobody keys by it

    def __repr__(self) -> str:
        counts = {rule: int((self.codes == CODE_OF[rule]).sum()) for rule in self.rules()}
        shown = [
            f"{rule} in {len(self.spans[rule])} spans" if rule in self.spans else f"{rule} {count:,}"
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


def _united(parts: list[Mapping[str, Coverage]]) -> Mapping[str, Coverage]:
    together: dict[str, Coverage] = {}
    for part in parts:
        for rule, cells in part.items():
            together[rule] = together[rule] | cells if rule in together else cells
    return together or _NO_SPANS
