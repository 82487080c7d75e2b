"""`make demo`: real bars are filled, broken, healed and checked, offline, in a store of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import platformdirs

from qmtl.foundation.errors import InvalidRequestError, QmtlError
from qmtl.foundation.times import iso
from qmtl.interfaces.cli.console import PipeAwareConsole
from qmtl.interfaces.demo.daily_bars import daily_bars
from qmtl.interfaces.demo.fleet import fleet
from qmtl.interfaces.demo.messy_file import messy_file
from qmtl.interfaces.demo.minute_bars import SERIES, YEAR, minute_bars
from qmtl.interfaces.demo.schema_change import schema_change
from qmtl.interfaces.demo.stage import Stage
from qmtl.interfaces.demo.world import world
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.exchange import SimulatedExchange


class DemoFailed(QmtlError):
    """The demo claimed something that did not hold: a defect of ours."""


def run_demo(store: Path | None = None) -> None:
    """Run all acts, and leave the store for the reader to look at.

    store: an empty or new folder; left out, `demo` in the user's cache folder, made anew each time.
    """
    folder = _stage_folder(store)
    stage = Stage(PipeAwareConsole(highlight=False, emoji=False))
    stage.say(f"Everything happens on this machine, in {folder}")
    with SimulatedExchange() as exchange:
        # A budget of its own: what the simulated exchange may be asked is nobody else's share.
        budget = RateBudget("qmtl demo", per_second=500, burst=500, path=folder / "rates.sqlite")
        vendor = CcxtVendor("binance", urls=exchange.url, budget=budget)
        with SeamlessDataProvider(folder / "bars", vendors={"ohlcv:binance:*": vendor}) as provider:
            daily_bars(stage, provider)
            answer = minute_bars(stage, provider, exchange)
            stage.act("The receipt of the year")
            stage.receipt(answer.receipt)
            stage.picture(answer.coverage)
        schema_change(stage, folder)
        messy_file(stage, folder)
        world(stage, folder)
        fleet(stage, folder, exchange, budget)
        _next(stage, folder / "bars")
    if stage.failed:
        raise DemoFailed(f"{stage.failed} of the demo's claims did not hold")


def _stage_folder(store: Path | None) -> Path:
    if store is None:
        folder = Path(platformdirs.user_cache_dir("qmtl")) / "demo"
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder = store
        if folder.exists() and any(folder.iterdir()):
            raise InvalidRequestError(
                f"{folder} is not empty", next_step="give --store a folder that is empty or not there yet"
            )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _next(stage: Stage, store: Path) -> None:
    stage.act("Try next")
    year = f"{SERIES} {iso(YEAR.start)} {iso(YEAR.end)}"
    for command in (
        f"qmtl --store {store} coverage {year}",
        f"qmtl --store {store} fetch {SERIES} 2023-06-01 2023-06-02 --strategy FAIL_FAST -o june.parquet",
        f"qmtl --store {store} store info",
        f"qmtl --store {store} store verify",
        "qmtl schema check ohlcv my-schema.json",
        "qmtl import FILE.csv --look",
        "qmtl fetch ohlcv:binance:BTC/USDT:1h 2024-01-01 2024-02-01",
        "qmtl doctor",
    ):
        stage.say(f"  {command}")
