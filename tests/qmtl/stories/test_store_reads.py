"""How often a request reads bars and coverage from the store: a bound that no machine changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from qmtl.foundation.series import SeriesId
from qmtl.foundation.times import to_ns
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.vendors import ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
SPAN = (to_ns("2024-01-01"), to_ns("2024-01-02"))
VERBS = ("read", "quarantined", "commit")
# What counts as another verb, in a store that has it.
ALSO = {"read_if_current": "read"}


@contextmanager
def counted(provider: SeamlessDataProvider) -> Iterator[Counter[str]]:
    """Calls of the store while the block runs, by verb."""
    counts: Counter[str] = Counter()

    def call(verb: str, own: Callable[..., Any], *args: Any, **options: Any) -> Any:
        counts[verb] += 1
        return own(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name, verb in {**{verb: verb for verb in VERBS}, **ALSO}.items():
            if (own := getattr(provider.store, name, None)) is not None:
                patch.setattr(provider.store, name, partial(call, verb, own))
        yield counts


def test_a_fetch_that_asks_a_vendor_reads_before_and_after(make: Make) -> None:
    provider = make(ScriptedVendor())
    with counted(provider) as counts:
        assert provider.fetch(SERIES, *SPAN).frame.height == 1_440
    assert counts == {"read": 2, "quarantined": 1, "commit": 1}


def test_a_backfill_scans_before_and_after(make: Make) -> None:
    provider = make(ScriptedVendor())
    with counted(provider) as counts:
        assert provider.backfill(SERIES, *SPAN).counts["present"] == 1_440
    assert counts == {"read": 2, "quarantined": 1, "commit": 1}
    with counted(provider) as counts:
        provider.backfill(SERIES, *SPAN)
    assert counts == {"read": 1}


def test_a_fetch_of_stored_bars_reads_once_and_one_of_cached_bars_never(make: Make) -> None:
    make(ScriptedVendor()).fetch(SERIES, *SPAN)
    provider = make(ScriptedVendor())
    with counted(provider) as counts:
        provider.fetch(SERIES, *SPAN)
    assert counts == {"read": 1}
    with counted(provider) as counts:
        provider.fetch(SERIES, *SPAN)
    assert counts == {}


def test_what_somebody_else_has_committed_since_is_read_before_the_vendor_is_asked(make: Make) -> None:
    """The read that is spared must not be spared here: nobody is asked for bars that are stored."""
    vendor = ScriptedVendor()
    provider, other = make(vendor), make(ScriptedVendor())
    read = provider.store.read

    def read_then_wait(*args: Any, **options: Any) -> Any:
        snapshot = read(*args, **options)
        if not vendor.calls and not other.store.commits(SeriesId.parse(SERIES)):
            other.backfill(SERIES, SPAN[0], SPAN[0] + (SPAN[1] - SPAN[0]) // 2)
        return snapshot

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provider.store, "read", read_then_wait)
        assert provider.fetch(SERIES, *SPAN).frame.height == 1_440
    assert [call.span for call in vendor.calls] == [((SPAN[0] + SPAN[1]) // 2, SPAN[1])]
