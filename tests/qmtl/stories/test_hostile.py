"""Rough handling: many threads, closing in the middle, forks, Ctrl-C, full and unwritable disks."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE, to_ns
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing import FakeClock, ScriptedVendor, Stop, synthetic_bars

SERIES = "ohlcv:test:BTC/USDT:1m"
DAWN = to_ns("2024-01-01")
ASKED = ("2024-01-01", "2024-01-01T01:00Z")


def provider_at(store: Path, vendor: Any, **options: Any) -> qmtl.SeamlessDataProvider:
    return qmtl.SeamlessDataProvider(
        store,
        vendors=vendor,
        clock=FakeClock("2024-02-01T00:00:30Z"),
        metrics_registry=CollectorRegistry(),
        **options,
    )


def claims_of(provider: qmtl.SeamlessDataProvider) -> list[str]:
    return os.listdir(provider.store.path / "claims")


class Waits:
    """A vendor that says when it was asked, gives ten bars, and then nothing more."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
        part = Span(span.start, span.start + 10 * MINUTE)
        yield Page(synthetic_bars(series, part), part)
        self.asked.set()
        await asyncio.get_running_loop().create_future()


def test_many_threads_on_a_cold_store_ask_once(tmp_path: Path) -> None:
    vendor = ScriptedVendor(page_rows=100)
    with provider_at(tmp_path / "bars", vendor) as provider, ThreadPoolExecutor(12) as threads:
        results = list(threads.map(lambda _: provider.fetch(SERIES, "2024-01-01", "2024-01-02"), range(24)))
    assert {result.receipt.fingerprint for result in results} == {results[0].receipt.fingerprint}
    assert results[0].frame.height == 1440
    assert len(vendor.calls) == 1


def test_many_providers_make_one_store_at_once(tmp_path: Path) -> None:
    vendor = ScriptedVendor(page_rows=100)

    def fetch(_: int) -> int:
        with provider_at(tmp_path / "bars", vendor) as provider:
            return provider.fetch(SERIES, "2024-01-01", "2024-01-02").frame.height

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(fetch, range(6))) == [1440] * 6
    assert sum(call.span.length for call in vendor.calls) == 1440 * MINUTE


def test_two_providers_with_other_calendars_on_one_store(tmp_path: Path) -> None:
    weekend = qmtl.Coverage.of(Span(to_ns("2024-01-06"), to_ns("2024-01-08")))
    vendor = ScriptedVendor(no_trade=weekend)
    asked = ("ohlcv:test:X:1h", "2024-01-05", "2024-01-09")
    always, weekly = (
        provider_at(tmp_path / "b", vendor),
        provider_at(tmp_path / "b", vendor, calendars={"*": "FX"}),
    )
    with always, weekly:
        for _ in range(2):
            first = always.fetch(*asked, partial_ok=True)
            second = weekly.fetch(*asked, partial_ok=True)
            assert (first.coverage.counts["no_trade"], first.coverage.counts["closed"]) == (48, 0)
            assert (second.coverage.counts["no_trade"], second.coverage.counts["closed"]) == (2, 46)
            assert (first.receipt.calendar, second.receipt.calendar) == ("24x7 (default)", "FX")


def test_closing_in_the_middle_of_a_fetch_tells_the_one_who_waits(tmp_path: Path) -> None:
    vendor = Waits()
    provider = provider_at(tmp_path / "bars", vendor)
    caught: list[BaseException] = []

    def fetch() -> None:
        try:
            provider.fetch(SERIES, *ASKED)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            caught.append(error)

    waiting = threading.Thread(target=fetch)
    waiting.start()
    assert vendor.asked.wait(60)
    provider.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert isinstance(caught[0], qmtl.InvalidRequestError)
    assert "closed" in str(caught[0])
    assert claims_of(provider) == []


def test_closing_in_the_middle_of_an_async_fetch_is_no_cancellation(tmp_path: Path) -> None:
    vendor = Waits()
    provider = provider_at(tmp_path / "bars", vendor)

    async def main() -> None:
        fetching = asyncio.ensure_future(provider.fetch_async(SERIES, *ASKED))
        await asyncio.to_thread(vendor.asked.wait, 60)
        await asyncio.to_thread(provider.close)
        with pytest.raises(qmtl.InvalidRequestError, match="closed"):
            await fetching

    asyncio.run(main())


def test_a_closed_provider_starts_nothing_again(tmp_path: Path) -> None:
    provider = provider_at(tmp_path / "bars", ScriptedVendor())
    provider.fetch(SERIES, *ASKED)
    provider.close()
    provider.close()
    before = set(threading.enumerate())
    for attempt in (
        lambda: provider.fetch(SERIES, *ASKED),
        lambda: provider.fetch_many([SERIES], *ASKED),
        lambda: provider.backfill(SERIES, *ASKED),
    ):
        with pytest.raises(qmtl.InvalidRequestError, match="the provider is closed"):
            attempt()
    assert set(threading.enumerate()) <= before, "those of others may end meanwhile"


INTERRUPTED = """
import asyncio, os, signal, sys, threading

import qmtl
from qmtl.runtime.io.vendors.base import Page
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.vendors import ScriptedVendor

ASKED = ("2024-01-01", "2024-01-01T01:00Z")


class Interrupts:
    async def pages(self, series, span):
        part = qmtl.Span(span.start, span.start + 600 * 10**9)
        yield Page(synthetic_bars(series, part), part)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        await asyncio.get_running_loop().create_future()


signal.signal(signal.SIGINT, signal.default_int_handler)
vendors = {"ohlcv:test:BTC*": Interrupts(), "*": ScriptedVendor()}
provider = qmtl.SeamlessDataProvider(sys.argv[1], vendors=vendors)
try:
    provider.fetch("ohlcv:test:BTC/USDT:1m", *ASKED)
except KeyboardInterrupt:
    print("interrupted", provider.fetch("ohlcv:test:ETH:1m", *ASKED).frame.height)
provider.close()
print(os.listdir(os.path.join(sys.argv[1], "claims")))
"""


def test_an_interrupt_frees_the_claims_and_the_provider_goes_on(tmp_path: Path) -> None:
    # In a process of its own that hears the signal: what a shell starts in the background ignores it.
    child = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "bars")]
    done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("interrupted 60\n[]\n", 0), done.stderr


def test_blocking_on_the_own_provider_within_a_vendor_is_reported(tmp_path: Path) -> None:
    class Nested:
        provider: qmtl.SeamlessDataProvider

        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            if series.symbol == "outer":
                self.provider.fetch("ohlcv:test:inner:1m", *ASKED)
            if series.symbol == "waiting":
                await self.provider.fetch_async("ohlcv:test:inner:1m", *ASKED)
            yield Page(synthetic_bars(series, span), span)

    vendor = Nested()
    with provider_at(tmp_path / "bars", vendor) as provider:
        vendor.provider = provider
        with pytest.raises(qmtl.InvalidRequestError, match="cannot block on its own provider"):
            provider.fetch("ohlcv:test:outer:1m", *ASKED)
        assert provider.fetch("ohlcv:test:waiting:1m", *ASKED).frame.height == 60


def test_a_provider_from_before_a_fork_is_refused_in_the_child(tmp_path: Path) -> None:
    with provider_at(tmp_path / "bars", ScriptedVendor()) as provider:
        provider.fetch(SERIES, *ASKED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's own word about forks and threads
            child = os.fork()
        if child == 0:
            signal.alarm(120)
            reported = 1
            try:
                provider.fetch(SERIES, *ASKED)
            except qmtl.InvalidRequestError as error:
                reported = 0 if "fork" in str(error) and error.next_step else 2
            provider.close()
            os._exit(reported)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert provider.fetch(SERIES, "2024-01-01", "2024-01-01T02:00Z").frame.height == 120


def test_a_long_range_does_not_hold_a_file_for_each_of_its_shards(tmp_path: Path) -> None:
    """Three years of seconds are 9,500 shards, and a process may open a thousand files or fewer."""

    class Counts:
        most = 0

        async def pages(self, series: SeriesId, span: Span) -> AsyncIterator[Page]:
            Counts.most = max(Counts.most, len(claims_of(provider)))
            yield Page(synthetic_bars(series, Span(span.start, span.start)), span)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(os.listdir("/proc/self/fd"))  # by other tests, too
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 200, hard))
    try:
        with provider_at(tmp_path / "bars", Counts()) as provider:
            states = provider.backfill("ohlcv:test:X:1s", "2021-01-01", "2024-01-01")
            assert claims_of(provider) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert states.counts["no_trade"] == 1095 * 86_400
    assert 1 <= Counts.most <= 64


_PRELUDE = """
    import os, resource, sys
    from pathlib import Path
    from prometheus_client import CollectorRegistry
    import qmtl
    from qmtl.runtime.testing import FakeClock, ScriptedVendor
    def provider_at(store):
        return qmtl.SeamlessDataProvider(store, vendors=ScriptedVendor(page_rows=20_000),
            clock=FakeClock("2024-02-01T00:00:30Z"), metrics_registry=CollectorRegistry())
    SERIES, store = "ohlcv:test:BTC/USDT:1m", Path(sys.argv[1])
"""


def in_child(code: str, store: Path) -> None:
    script = textwrap.dedent(_PRELUDE) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script, store], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_disk_that_fills_up_keeps_what_was_committed_and_no_more(tmp_path: Path) -> None:
    in_child(
        """
        with provider_at(store) as provider:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
            for partial_ok in (False, True):
                try:
                    provider.fetch(SERIES, "2023-11-01", "2024-01-01", partial_ok=partial_ok)
                except qmtl.StoreError as error:
                    assert SERIES in str(error) and str(store) in str(error) and "space" in error.next_step
                else:
                    raise SystemExit("it fitted")
            assert os.listdir(store / "claims") == []
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert provider.store.verify().is_sound
            before = provider.coverage(SERIES, "2023-11-01", "2024-01-01").counts
            assert before["present"] + before["unknown"] == 61 * 1440 and before["unknown"], before
            assert provider.fetch(SERIES, "2023-11-01", "2024-01-01").frame.height == 61 * 1440
        """,
        tmp_path / "bars",
    )


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_store_of_somebody_else_is_read_and_never_written(open_folder: Path) -> None:
    store = open_folder / "bars"
    with provider_at(store, ScriptedVendor()) as provider:
        provider.fetch(SERIES, *ASKED)
    before = {path.name: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    in_child(
        """
        with provider_at(store.parent / "warm") as provider:  # all modules are loaded by who may read them
            provider.fetch(SERIES, "2024-01-01", "2024-01-01T01:00Z", fill="flat")
        os.setgid(65534)
        os.setuid(65534)
        with provider_at(store) as provider:
            asked = (SERIES, "2024-01-01", "2024-01-01T02:00Z")
            assert provider.fetch(SERIES, "2024-01-01", "2024-01-01T01:00Z").frame.height == 60
            assert provider.fetch(*asked, strategy="FAIL_FAST", partial_ok=True).frame.height == 60
            try:
                provider.fetch(*asked)
            except qmtl.StoreError as error:
                assert SERIES in str(error) and str(store) in str(error) and "FAIL_FAST" in error.next_step
            else:
                raise SystemExit("it was written")
        """,
        store,
    )
    assert {path.name: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_vendor_that_stops_is_asked_for_the_rest_next_time(tmp_path: Path) -> None:
    vendor = ScriptedVendor(page_rows=10, faults={3: Stop()})
    with provider_at(tmp_path / "bars", vendor) as provider:
        with pytest.raises(qmtl.MissingDataError):
            provider.fetch(SERIES, *ASKED)
        assert provider.fetch(SERIES, *ASKED).frame.height == 60
    assert [call.span.start for call in vendor.calls] == [DAWN, DAWN + 30 * MINUTE]
