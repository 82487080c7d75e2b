"""`python -m qmtl.runtime.testing.exchange --port 8080`: the simulated exchange, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import threading
from contextlib import suppress

from qmtl.foundation.errors import QmtlError
from qmtl.runtime.testing.exchange.server import SimulatedExchange


def main() -> int:
    """Serve until interrupted; 7 if the port cannot be had, or a package is missing."""
    parser = argparse.ArgumentParser(prog="python -m qmtl.runtime.testing.exchange", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--symbols", nargs="+", default=["BTC/USDT", "ETH/USDT"], metavar="BASE/QUOTE")
    parser.add_argument("--seed", type=int, default=0, help="which made-up markets")
    wanted = parser.parse_args()
    try:
        with SimulatedExchange(wanted.symbols, seed=wanted.seed, port=wanted.port) as exchange:
            print(exchange.url, flush=True)  # noqa: T201 - what the caller waits for
            with suppress(KeyboardInterrupt):
                threading.Event().wait()
    except (QmtlError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a program
        return 7
    return 0


if __name__ == "__main__":
    sys.exit(main())
