"""Flags that a store in memory keeps, until a commit touches what they rest on."""

from __future__ import annotations

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.kept_flags import KeptFlags, joined, merged, stretch_number
from qmtl.runtime.io.store.values import Judged


class MemoryFlags:
    """By series, rules and stretch. Its user sees to it that one thread at a time does."""

    def __init__(self) -> None:
        self._kept: dict[SeriesId, dict[tuple[bytes, int], KeptFlags]] = {}

    def of_span(self, series: SeriesId, rules: bytes, span: Span) -> Flags | None:
        """The flags of a span that were kept by these rules; None where a part of them is missing."""
        kept = self._kept.get(series, {})
        step = series.timeframe.step
        first, last = stretch_number(span.start, step), stretch_number(span.end - 1, step)
        found = [kept[rules, number] for number in range(first, last + 1) if (rules, number) in kept]
        return joined(found, span) if len(found) > last - first else None

    def keep(self, judged: Judged) -> None:
        """Keep flags, with those that were kept of the same stretch if they meet."""
        series, rules, _, kept = judged
        key = rules, stretch_number(kept.span.start, series.timeframe.step)
        known = self._kept.setdefault(series, {}).get(key)
        self._kept[series][key] = kept if known is None else merged(known, kept)

    def make_void(self, series: SeriesId, touched: Span) -> None:
        """Forget what rests on anything of a range."""
        kept = self._kept.get(series, {})
        for key in [key for key, one in kept.items() if one.rests_on(touched)]:
            del kept[key]

    def listed(self, series: SeriesId) -> list[tuple[bytes, KeptFlags]]:
        """All that is kept of a series, by rules and time."""
        return [(rules, kept) for (rules, _), kept in sorted(self._kept.get(series, {}).items())]
