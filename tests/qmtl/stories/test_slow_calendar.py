"""A calendar that takes its time, as one does that is read from a package, spends the caller's budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import qmtl
from qmtl.foundation.timeline import Coverage, Span
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

Make = Callable[..., SeamlessDataProvider]


@dataclass
class LoadedLate:
    """Always open, but the first question takes a second."""

    clock: FakeClock
    loaded: bool = False

    def sessions(self, span: Span) -> Coverage:
        if not self.loaded:
            self.loaded = True
            self.clock.advance(1.0)
        return Coverage.of(span)


@pytest.mark.parametrize("anchor", ["clock", "session"])
def test_loading_a_calendar_counts_in_total_and_in_the_ledger(
    make: Make, clock: FakeClock, anchor: Any
) -> None:
    facts = [("*", qmtl.SeriesFacts(anchor=anchor))]
    provider = make(ScriptedVendor(), calendars={"*": LoadedLate(clock)}, declared=facts)
    with pytest.raises(qmtl.SeamlessSLAExceeded) as caught:
        provider.fetch("ohlcv:t:X:1h", "2024-01-02", "2024-01-05", sla=qmtl.SLAPolicy(total=0.2))
    assert caught.value.phase == "total"
    ledger = caught.value.ledger
    assert ledger["total"] == pytest.approx(1.0)
    assert sum(seconds for phase, seconds in ledger.items() if phase != "total") == pytest.approx(1.0)
    result = provider.fetch("ohlcv:t:X:1h", "2024-01-02", "2024-01-05", sla=qmtl.SLAPolicy(total=0.2))
    assert result.frame.height == 72, "loaded once"
