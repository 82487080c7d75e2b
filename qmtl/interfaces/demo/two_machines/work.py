"""What one machine of the demo does: it fetches a range, and says on stdout, line by line, how far it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.vendors.ccxt import CcxtVendor
from qmtl.runtime.sdk.provider import SeamlessDataProvider


def main(store: str, exchange: str, series: str, state: str) -> None:
    """For each line of stdin, `[START, END, AS_OF]` as JSON, fetch that range. AS_OF may be null.

    state: a folder of this machine alone, as other machines do not see it.
    """
    budget = RateBudget("qmtl demo", per_second=500, burst=500, path=Path(state) / "rates.sqlite")
    vendor = CcxtVendor("binance", urls=exchange, budget=budget)
    with SeamlessDataProvider(store, vendors={"ohlcv:binance:*": vendor}) as provider:
        _say(ready=True)
        for line in sys.stdin:
            start, end, as_of = json.loads(line)
            _say(**_fetched(provider, series, start, end, as_of))


def _fetched(
    provider: SeamlessDataProvider, series: str, start: int, end: int, as_of: int | None
) -> dict[str, Any]:
    """What an answer says. What was there at an earlier time may have holes."""
    answer = provider.fetch(
        series,
        start,
        end,
        as_of=as_of,
        partial_ok=as_of is not None,
        on_progress=lambda progress: _say(done=progress.done),
    )
    return {"fingerprint": answer.receipt.fingerprint, "as_of": answer.receipt.as_of}


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
