"""An answer is whole once it is given: nothing of it is read later, and no later event changes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import HOUR, to_ns
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.testing.vendors import Change, ScriptedVendor

BOTH_ENGINES = True

Make = Callable[..., SeamlessDataProvider]

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")
DAY = ("2024-01-01", "2024-01-02")
HOURS = Span(DAWN, DAWN + 6 * HOUR)


def spiked(page: Page) -> Page:
    """The high of one bar is a hundred times too high."""
    mark = pl.int_range(page.frame.height) == 700
    high = pl.when(mark).then(pl.col("high") * 100).otherwise("high").alias("high")
    return Page(page.frame.with_columns(high), page.answered, page.absent)


def all_of(result: FetchResult) -> dict[str, Any]:
    """Everything that an answer can say."""
    return {
        "report": result.report.to_json(),
        "receipt": result.receipt.to_json(),
        "counts": result.coverage.counts,
        "states": {name: cells.spans for name, cells in result.coverage.items()},
        "rows": result.frame.rows(),
        "texts": (repr(result), repr(result.receipt), repr(result.report), repr(result.coverage)),
        "html": (result._repr_html_(), result.report._repr_html_()),
    }


def delete(place: Path | str) -> None:
    if isinstance(place, Path):
        shutil.rmtree(place)
        return
    import psycopg  # where it is installed

    address = StoreAddress.parse(place)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA "{address.schema}" CASCADE')


# How the answer comes about, and what is asked.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "from the vendor": ("vendor", {}),
    "from the store": ("storage", {}),
    "from the cache": ("cache", {}),
    "from the cache, filled": ("cache", {"fill": "flat"}),
    "at a point in time": ("cache", {"as_of": "2024-02-01T00:00:30Z"}),
}


@pytest.mark.parametrize("gone", ["closed", "deleted"])
@pytest.mark.parametrize("flawed", [False, True], ids=["clean", "flawed"])
@pytest.mark.parametrize("asked", ASKED)
def test_everything_is_there_when_the_provider_is_not(
    make: Make, place_named: Callable[[str], Path | str], asked: str, flawed: bool, gone: str
) -> None:
    tier, options = ASKED[asked]
    vendor = ScriptedVendor(faults={0: Change(spiked)} if flawed else None)
    provider = make(vendor)
    if tier != "vendor":
        provider.fetch(SERIES, *DAY, partial_ok=True)
    if tier == "storage":
        provider.close()
        provider = make(vendor)
    if tier == "cache":
        assert provider.fetch(SERIES, *DAY, partial_ok=True).frame.height == 1440
    answer = provider.fetch(SERIES, *DAY, partial_ok=True, **options)
    provider.close()
    if gone == "deleted":
        delete(place_named("bars"))
    reported = all_of(answer)
    assert reported["counts"]["present"] == len(reported["rows"]) == 1440
    assert reported["report"]["warnings"] == (1 if flawed else 0)
    assert reported["receipt"]["served"][0]["source"] == "ScriptedVendor"


def test_a_later_acceptance_does_not_change_an_earlier_report(make: Make) -> None:
    provider = make(ScriptedVendor(faults={0: Change(spiked)}))
    provider.fetch(SERIES, *DAY, partial_ok=True)
    before = provider.fetch(SERIES, *DAY, partial_ok=True)
    at_a_point = provider.fetch(SERIES, *DAY, partial_ok=True, as_of=before.receipt.as_of)
    assert provider.accept(SERIES, *DAY)
    for earlier in (before, at_a_point):
        assert (earlier.report.warnings, earlier.report.passes) == (1, False)
    assert provider.fetch(SERIES, *DAY).report.passes


def test_a_later_commit_does_not_change_what_a_report_is_compared_with(make: Make) -> None:
    """The vendor corrects a bar of another hour: the trend of an earlier clean answer stays as it was."""
    vendor = ScriptedVendor(faults={0: Change(spiked)})
    provider = make(vendor)
    provider.fetch(SERIES, *DAY, partial_ok=True)
    provider.accept(SERIES, *DAY)
    clean = provider.fetch(SERIES, *HOURS)
    twin = provider.fetch(SERIES, *HOURS)
    expected = dict(clean.report.digest)
    other = make({}, conformance=None)
    other.store.archive_report(clean.receipt.series, clean.report.to_json())
    assert dict(twin.report.digest) == expected


def test_the_last_report_outlives_the_provider(make: Make) -> None:
    provider = make(ScriptedVendor())
    provider.fetch(SERIES, *DAY)
    provider.fetch(SERIES, *DAY)
    provider.close()
    assert provider.last_conformance_report is not None
    assert provider.last_conformance_report.passes


def test_an_answer_from_the_cache_reads_nothing_from_the_store(
    make: Make, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def counting(name: str) -> None:
        method = getattr(KeptStore, name)

        def counted(self: KeptStore, *args: Any, **options: Any) -> Any:
            reads.append(name)
            return method(self, *args, **options)

        monkeypatch.setattr(KeptStore, name, counted)

    for name in (
        "read",
        "baseline_report",
        "newest_report",
        "accepted",
        "facts",
        "changed_since",
        "quarantined",
    ):
        counting(name)
    provider = make(ScriptedVendor())
    provider.fetch(SERIES, *DAY)
    provider.fetch(SERIES, *DAY)
    reads.clear()
    for _ in range(3):
        assert provider.fetch(SERIES, *DAY).report.passes
        assert provider.fetch(SERIES, *HOURS).report.passes
    # A server is asked once a request whether anybody has committed, unless `max_staleness` is above 0.
    assert reads == ([] if engine == "folder" else ["changed_since"] * 6)
    provider.accept(SERIES, *DAY)  # finds nothing, writes nothing
    provider.store.archive_report(provider.fetch(SERIES, *DAY).receipt.series, _other_report(provider))
    reads.clear()
    provider.fetch(SERIES, *DAY)
    assert "baseline_report" in reads, "what others wrote is looked at"


def _other_report(provider: SeamlessDataProvider) -> dict[str, Any]:
    return provider.fetch(SERIES, *HOURS).report.to_json()
