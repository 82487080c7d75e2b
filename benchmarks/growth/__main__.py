"""python -m benchmarks.growth [LADDER ...] [--quick] [--markdown FILE]: how cost grows, as a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.growth import report
from benchmarks.growth.climbing import Rung, climb
from benchmarks.growth.ladders import LADDERS
from benchmarks.growth.rule import grown_too_fast
from benchmarks.table import update_document

ROUNDS = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Climb the ladders one after the other; 1 if the cost of a fetch grew faster than the logarithm."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="Measure how cost grows."
    )
    parser.add_argument("ladders", nargs="*", metavar="LADDER", help=f"of: {', '.join(LADDERS)}")
    parser.add_argument("--quick", action="store_true", help="small stores: proves that it runs")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="update the tables within FILE")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.ladders) - set(LADDERS)):
        parser.error(f"no such ladder: {', '.join(unknown)}; there are {', '.join(LADDERS)}")
    loads = [machine.load()]
    climbed: dict[str, list[Rung]] = {}
    grown: list[str] = []
    with tempfile.TemporaryDirectory(prefix="qmtl-growth-") as folder:
        for name in asked.ladders or LADDERS:
            climbed[name] = _climbed(name, Path(folder), is_quick=asked.quick)
            grown += grown_too_fast({rung.size: rung.costs for rung in climbed[name]})
            loads.append(machine.load())
    facts = machine.facts() | {"load": f"{min(loads):.1f} to {max(loads):.1f}"}
    if machine.is_too_busy(loads):
        facts["CAUTION"] = "others were at work on this machine; compare the counts, not the times"
    tables = report.for_markdown(climbed, facts)
    if asked.markdown:
        update_document(asked.markdown, tables, of="growth")
    print(tables)
    for sentence in grown:
        print(f"GROWN TOO FAST: {sentence}", file=sys.stderr)
    return 1 if grown else 0


def _climbed(name: str, folder: Path, *, is_quick: bool) -> list[Rung]:
    ladder = LADDERS[name]
    sizes = ladder.tiny if is_quick else ladder.full
    with Console(stderr=True).status(report.heading(ladder)):
        return list(climb(ladder, sizes, folder, ROUNDS))


if __name__ == "__main__":
    sys.exit(main())
