"""The simulated exchange in a process of its own, which writes down what it is asked for.

python exchange_child.py PORT HISTORY
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from qmtl.foundation.series import Timeframe
from qmtl.runtime.testing.exchange import Request, SimulatedExchange
from qmtl.runtime.testing.exchange.server import KLINES
from tests.qmtl.stories.fleet.history import HistoryFile, Requested
from tests.qmtl.stories.fleet.recorders import MILLISECOND, now

SYMBOLS = ("BTC/USDT", "ETH/USDT")


def main(port: str, history: str) -> None:
    file = HistoryFile(Path(history) / f"exchange-{os.getpid()}.jsonl")

    def came(request: Request) -> None:
        if request.path == KLINES:
            sent = request.parameters
            symbol = next(name for name in SYMBOLS if name.replace("/", "") == sent["symbol"])
            series = f"ohlcv:exchange:{symbol}:{Timeframe.parse(sent['interval'])}"
            start, end = int(sent["startTime"]), int(sent["endTime"]) + 1
            file.write(Requested(now(), series, start * MILLISECOND, end * MILLISECOND))

    with SimulatedExchange(SYMBOLS, port=int(port), on_request=came) as exchange:
        sys.stdout.write(f"{exchange.url}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
