"""Programs that never call `close()`: they end at once, without a word, and leave no connection behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ccxt", reason="needs qmtl[ccxt]")
pytest.importorskip("aiohttp", reason="needs qmtl[testing]")

from qmtl.runtime.sdk.loop_thread import CLOSED_WITHIN_S
from qmtl.runtime.testing import SimulatedExchange

# Real seconds for a whole program, the loading of ccxt included, on a busy machine.
PATIENCE_S = 120.0

HEAD = """
import asyncio, gc, logging, sys, threading, warnings
# Debugging asyncio tells of steps that took long, as some do on a busy machine.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what ccxt and its packages do while they are loaded is not ours
    import ccxt.async_support
import qmtl
URL, STORE = sys.argv[1:]
BTC, ETH = "ohlcv:binance:BTC/USDT:1m", "ohlcv:binance:ETH/USDT:1m"
DAY = ("2024-01-01", "2024-01-02")
def provider(where="bars"):
    return qmtl.SeamlessDataProvider(STORE + where, vendors=qmtl.CcxtVendor("binance", urls=URL))
"""

# What a person writes, and the exit code that it asks for.
PROGRAMS: dict[str, tuple[str, int]] = {
    "at the top": ("sdp = provider()\nassert sdp.fetch(BTC, *DAY).frame.height == 1440", 0),
    "in a function": (
        "def main():\n    return provider().fetch(BTC, *DAY)\n"
        "r = main()\nassert r.report.passes and r.frame.height == 1440",
        0,
    ),
    "in a circle": (
        "class SchemaContext: pass\ndesk = SchemaContext()\ndesk.desk, desk.sdp = desk, provider()\n"
        "desk.sdp.fetch(BTC, *DAY)\ndel desk\ngc.collect()",
        0,
    ),
    "asynchronous": (
        "async def main():\n    r = await provider().fetch_async(BTC, *DAY)\n"
        "    assert r.frame.height == 1440\n"
        "asyncio.run(main())",
        0,
    ),
    "several providers": (
        "one, other = provider(), provider('more')\none.fetch(BTC, *DAY)\nother.fetch(ETH, *DAY)",
        0,
    ),
    "with work going on behind": (
        "sdp = provider()\nr = sdp.fetch(BTC, *DAY, strategy='PARTIAL_FILL')\nassert r.pending is not None",
        0,
    ),
    "never asked": ("sdp = provider()", 0),
    "left with a code": ("sdp = provider()\nsdp.fetch(BTC, *DAY)\nsys.exit(3)", 3),
}


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(["BTC/USDT", "ETH/USDT"]) as one:
        yield one


def run(exchange: SimulatedExchange, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    path = folder / "program.py"
    path.write_text(HEAD + program + "\n")
    command = [sys.executable, "-W", "error", "-X", "dev", str(path), exchange.url, f"{folder}/"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends_without_a_word(exchange: SimulatedExchange, tmp_path: Path, name: str) -> None:
    program, code = PROGRAMS[name]
    ended = run(exchange, tmp_path, program)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_its_own_traceback_is_all_that_a_failing_program_shows(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    ended = run(exchange, tmp_path, "sdp = provider()\nsdp.fetch(BTC, *DAY)\n1 / 0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback (most recent call last):")
    assert ended.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert ended.stderr.count("Traceback") == 1


def test_it_ends_promptly(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """Ending takes no more than a moment beyond what the same program takes that ends itself at once."""
    program = "import os, time\nsdp = provider()\nsdp.fetch(BTC, *DAY)\nprint(time.time(), flush=True)\n"
    ended = run(exchange, tmp_path, program)
    assert ended.returncode == 0, ended.stderr
    assert time.time() - float(ended.stdout) < CLOSED_WITHIN_S, "so long is waited for what hangs"
