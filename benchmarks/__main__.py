"""python -m benchmarks [CASE ...] [--quick] [--json FILE] [--markdown FILE]: measure, and print a table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import catalogue, machine, table
from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases one after the other; 1 if one of them broke, whatever the figures are."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.cases) - set(catalogue.NAMES)):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(catalogue.NAMES)}")
    console = Console(stderr=True)
    facts = machine.facts()
    loads = [machine.load()]
    results: dict[str, list[Figure]] = {}
    broken: list[str] = []
    for name in asked.cases or catalogue.NAMES:
        title = catalogue.title(name)
        with console.status(f"{name}: {title}"):
            figures = _measure(name, "tiny" if asked.quick else "full")
        if figures is None:
            broken.append(name)
        else:
            results[title] = figures
        loads.append(machine.load())
    facts["load"] = f"{min(loads):.1f} to {max(loads):.1f}"
    if machine.is_too_busy(loads):
        facts["CAUTION"] = "others were at work on this machine; whether a goal is kept is not decided"
    if asked.json:
        asked.json.write_text(_as_json(results, facts, quick=asked.quick), encoding="utf-8")
    if asked.markdown:
        table.update_document(asked.markdown, table.for_markdown(results, facts))
    # A file or a pipe has no width of its own; eighty columns would break every line of the table.
    out = Console() if sys.stdout.isatty() else Console(width=150)
    out.print("; ".join(f"{key} {value}" for key, value in facts.items()), soft_wrap=True)
    out.print(table.for_terminal(results))
    if asked.quick:
        out.print("These are quick runs of tiny sizes: they prove that the cases run, and nothing else.")
    for name in broken:
        console.print(f"[red]{name} broke; what it said stands above")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what is promised.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(catalogue.NAMES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only proves that the cases run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="update the table within FILE")
    return parser


def _measure(name: str, size: str) -> list[Figure] | None:
    """The figures of a case, measured by a process of its own; None if it broke."""
    with tempfile.TemporaryDirectory(prefix="qmtl-bench-") as temporary:
        folder, told = Path(temporary) / "work", Path(temporary) / "figures.json"
        folder.mkdir()
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", name, size, str(folder), str(told)], cwd=ROOT
        )
        if ended.returncode:
            return None
        return [Figure.from_json(values) for values in json.loads(told.read_text(encoding="utf-8"))]


def _as_json(results: dict[str, list[Figure]], facts: dict[str, str], *, quick: bool) -> str:
    figures = {title: [figure.to_json() for figure in rows] for title, rows in results.items()}
    return json.dumps({"machine": facts, "quick": quick, "cases": figures}, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
