"""python -m benchmarks [CASE ...] [--quick] [--json FILE] [--markdown FILE]: measure, and print a table."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import arctic_environment, catalogue, machine, table
from benchmarks.figures import Figure

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases one after the other; 1 if one of them broke, whatever the figures are."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.cases) - set(catalogue.NAMES)):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(catalogue.NAMES)}")
    console = Console(stderr=True)
    if not asked.quick:
        with console.status("install ArcticDB, unless that was done before"):
            arctic_environment.install()
    facts = machine.facts() | {"ArcticDB": arctic_environment.version()}
    loads = [machine.load()]
    results: dict[str, list[Figure]] = {}
    skipped: dict[str, str] = {}
    broken: list[str] = []
    for name in asked.cases or catalogue.NAMES:
        title = catalogue.title(name)
        with console.status(f"{name}: {title}"):
            figures = _measure(name, "tiny" if asked.quick else "full")
        if figures is None:
            broken.append(name)
        elif isinstance(figures, str):
            skipped[title] = figures
        else:
            results[title] = figures
        loads.append(machine.load())
    facts["load"] = f"{min(loads):.1f} to {max(loads):.1f}"
    if machine.is_too_busy(loads):
        facts["CAUTION"] = "others were at work on this machine; whether a goal is kept is not decided"
    if asked.json:
        asked.json.write_text(_as_json(results, skipped, facts, quick=asked.quick), encoding="utf-8")
    if asked.markdown:
        table.update_document(asked.markdown, table.for_markdown(results, skipped, facts))
    # A file or a pipe has no width of its own; eighty columns would break every line of the table.
    out = Console() if sys.stdout.isatty() else Console(width=150)
    out.print("; ".join(f"{key} {value}" for key, value in facts.items()), soft_wrap=True)
    out.print(table.for_terminal(results, skipped))
    if asked.quick:
        out.print("These are quick runs of tiny sizes: they prove that the cases run, and nothing else.")
    for name in broken:
        console.print(f"[red]{name} failed; its output stands above")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what is promised.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(catalogue.NAMES)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only proves that the cases run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="update the table within FILE")
    return parser


def _measure(name: str, size: str) -> list[Figure] | str | None:
    """The figures of a case, measured by a process of its own; why it was skipped; None if it broke."""
    with tempfile.TemporaryDirectory(prefix="qmtl-bench-") as temporary:
        folder, figures_path = Path(temporary) / "work", Path(temporary) / "figures.json"
        folder.mkdir()
        # Whole processes are measured with compiled files, as they are where the package is installed.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", name, size, str(folder), str(figures_path)],
            cwd=ROOT,
            env=environment,
        )
        if ended.returncode:
            return None
        outcome = json.loads(figures_path.read_text(encoding="utf-8"))
        return outcome if isinstance(outcome, str) else [Figure.from_json(values) for values in outcome]


def _as_json(
    results: dict[str, list[Figure]], skipped: dict[str, str], facts: dict[str, str], *, quick: bool
) -> str:
    figures = {title: [figure.to_json() for figure in rows] for title, rows in results.items()}
    document = {"machine": facts, "quick": quick, "cases": figures, "skipped": skipped}
    return json.dumps(document, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
