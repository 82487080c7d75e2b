"""The act of the demo in which a worker is killed: all that it claims is true."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from qmtl.interfaces.demo.fleet import fleet
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.testing.exchange import SimulatedExchange


def test_what_a_killed_worker_has_begun_another_completes(tmp_path: Path) -> None:
    printed = io.StringIO()
    stage = Stage(Console(file=printed, width=200, highlight=False))
    budget = RateBudget("qmtl demo", per_second=500, burst=500, path=tmp_path / "rates.sqlite")
    with SimulatedExchange() as exchange:
        fleet(stage, tmp_path, exchange, budget)
    assert stage.failed == 0, printed.getvalue()
    assert printed.getvalue().count("  true   ") == 6, printed.getvalue()
