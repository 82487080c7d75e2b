"""The acts of the demo: bars are written, the server is killed in a write, and loses its newest rows."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.interfaces.cli.console import PipeAwareConsole
from qmtl.interfaces.demo.in_questdb.server import Server, running_server
from qmtl.interfaces.demo.main import DemoFailed
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.sdk.questdb_provider import EnhancedQuestDBProvider
from qmtl.runtime.testing.exchange import SimulatedExchange

SERIES = "ohlcv:binance:BTC/USDT:1m"
NAME = SeriesId.parse(SERIES)
STEP = NAME.timeframe.step
JANUARY = Span(to_ns("2023-01-22"), to_ns("2023-02-01"))
# More than one commit holds: whenever the first of its rows are there, others are still to come.
FEBRUARY = Span(JANUARY.end, to_ns("2023-03-01"))
MARCH = Span(FEBRUARY.end, to_ns("2023-03-11"))


@dataclass(frozen=True)
class Demo:
    """folder: of the catalog, and of what is put aside."""

    stage: Stage
    exchange: SimulatedExchange
    server: Server
    folder: Path

    def opened(self) -> EnhancedQuestDBProvider:
        budget = RateBudget("qmtl demo", per_second=500, burst=500, path=self.folder / "rates.sqlite")
        vendor = CcxtVendor("binance", urls=self.exchange.url, budget=budget)
        address = f"questdb://127.0.0.1:{self.server.port}?catalog={self.folder / 'catalog'}&name=demo"
        return EnhancedQuestDBProvider(address, vendors={"ohlcv:binance:*": vendor})


def run_demo(jar: Path) -> None:
    """Run all acts. Raises `DemoFailed` where a claim did not hold."""
    stage = Stage(PipeAwareConsole(highlight=False, emoji=False))
    with (
        running_server(jar) as server,
        tempfile.TemporaryDirectory(prefix="qmtl-demo-") as folder,
        SimulatedExchange() as exchange,
    ):
        demo = Demo(stage, exchange, server, Path(folder))
        stage.say("Everything happens on this machine, and is gone afterwards.")
        with demo.opened() as provider:
            fingerprint = written(demo, provider)
            killed(demo, provider)
        read_again(demo, fingerprint)
        without_its_newest_rows(demo)
    if stage.failed:
        raise DemoFailed(f"{stage.failed} of the demo's claims did not hold")


def written(demo: Demo, provider: EnhancedQuestDBProvider) -> str:
    stage = demo.stage
    stage.act("Act one: minute bars go into QuestDB")
    with stage.timed("fetch: asked for, checked, written, read back, covered"):
        answer = provider.fetch(SERIES, *JANUARY)
    stage.receipt(answer.receipt)
    stage.check(f"{JANUARY.length // STEP:,} bars are there", answer.frame.height == JANUARY.length // STEP)
    stage.check("the receipt says what a loss of power may take", "nosync" in (answer.receipt.at_risk or ""))
    return answer.receipt.fingerprint


def killed(demo: Demo, provider: EnhancedQuestDBProvider) -> None:
    stage, store = demo.stage, _store(provider)
    stage.act("Act two: the server is killed while February is written")
    failures: list[QmtlError] = []

    def fetch() -> None:
        try:
            provider.fetch(SERIES, *FEBRUARY)
        except QmtlError as failure:
            failures.append(failure)

    before = store.questdb().rows
    writer = threading.Thread(target=fetch)
    writer.start()
    while writer.is_alive() and store.questdb().rows == before:
        pass  # until the first of its rows are there
    demo.server.kill()
    stage.say("  Some of its rows are at the server. kill -9")
    writer.join()
    for failure in failures:
        stage.error(failure)
    stage.check("the fetch has failed, and says why", len(failures) == 1)
    stage.check("nothing is taken for lost", not store.lost(NAME))


def read_again(demo: Demo, fingerprint: str) -> None:
    stage = demo.stage
    stage.act("Act three: the server is up again")
    demo.server.start()
    with demo.opened() as provider:
        asked = len(demo.exchange.requests)
        again = provider.fetch(SERIES, *JANUARY).receipt
        stage.check("January has the fingerprint that it had", again.fingerprint == fingerprint)
        stage.check("the exchange was not asked for it", len(demo.exchange.requests) == asked)
        with stage.timed("fetch of February"):
            provider.fetch(SERIES, *FEBRUARY)
        _check_books(demo, provider, Span(JANUARY.start, FEBRUARY.end))
        stage.check("verify: every row matches its checksum", _store(provider).verify().is_sound)


def without_its_newest_rows(demo: Demo) -> None:
    stage = demo.stage
    stage.act("Act four: a loss of power, which takes what was not on the disk yet")
    with demo.opened() as provider:
        (table,) = (one for one in demo.server.tables.glob(f"{_store(provider).table}~*") if one.is_dir())
        shutil.copytree(table, demo.folder / "older")
        provider.fetch(SERIES, *MARCH)
    demo.server.kill()
    shutil.rmtree(table)
    shutil.copytree(demo.folder / "older", table)
    stage.say(
        "  Its files are as they were before March. The catalog, which waits for the disk, knows of March."
    )
    demo.server.start()
    with demo.opened() as provider:
        store = _store(provider)
        lost = [one.span for one in store.lost(NAME)]
        # A last chunk of February that was far from full was packed anew, with the first bars of March.
        stage.check(
            "as the store is opened, the chunks of March are found to be gone, and nothing else",
            bool(lost) and all(MARCH.start < one.end <= MARCH.end for one in lost),
        )
        with stage.timed("fetch of all that there is"):
            answer = provider.fetch(SERIES, JANUARY.start, MARCH.end)
        stage.say(f"  {sum(one.length for one in lost) // STEP:,} bars were lost, and were asked for again.")
        stage.check("the answer has no hole", answer.frame.height == (MARCH.end - JANUARY.start) // STEP)
        _check_books(demo, provider, Span(JANUARY.start, MARCH.end))
        stage.check("nothing is lost any more, and every row matches its checksum", store.verify().is_sound)


def _check_books(demo: Demo, provider: EnhancedQuestDBProvider, span: Span) -> None:
    stage = demo.stage
    stage.picture(provider.coverage(SERIES, *span))
    frame = provider.store.read(NAME, span).frame
    stage.check(
        f"all {span.length // STEP:,} bars equal the exchange's own books, value by value",
        frame.equals(demo.exchange.bars(NAME, span)),
    )


def _store(provider: EnhancedQuestDBProvider) -> QuestDBStore:
    store = provider.store
    assert isinstance(store, QuestDBStore)
    return store


if __name__ == "__main__":
    try:
        run_demo(Path(sys.argv[1]))
    except QmtlError as error:
        sys.exit(f"error: {error}")
