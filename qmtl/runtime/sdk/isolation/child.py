"""The process of an isolated strategy begins here: it gives up reading before it runs any of its code."""

from __future__ import annotations

import json
import os
import sys

from qmtl.runtime.sdk.isolation import sandbox
from qmtl.runtime.sdk.isolation.pipe import receive, send


def main(reads: int, writes: int) -> None:
    """Serve one run over two pipes. Only the standard library is imported until nothing can be read."""
    with os.fdopen(reads, "rb") as source, os.fdopen(writes, "wb") as to:
        order = json.loads(receive(source))
        try:
            sandbox.die_with_parent()
            sandbox.restrict(order["readable"], order["listed"])
        except OSError as error:
            send(to, json.dumps({"refused": str(error)}).encode())
            return
        sys.path += [entry for entry in order["path"] if entry not in sys.path]
        from qmtl.runtime.sdk.isolation.strategy_side import serve

        serve(order, source, to)
