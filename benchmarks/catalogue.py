"""Every case by its name, in the order of the table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.sizes import Sizes

NAMES = (
    "stored_year",
    "stored_window",
    "cache_hit",
    "cache_hit_warned",
    "panel",
    "conformance",
    "conformance_illiquid",
    "revalidate",
    "spans",
    "bulk_write",
    "upsert",
    "append",
    "one_bar_each",
    "postgres_reads",
    "postgres_writes",
    "questdb_reads",
    "questdb_writes",
    "snapshot",
    "cold_backfill",
    "lease",
    "jobs",
    "replay",
    "worlds",
    "schema_cached",
    "schema_over_http",
    "schema_register",
    "schema_verdict",
    "schema_validation",
    "start_up",
    "cli_warm",
)

# Read without importing the case: the parent process stays small.
_CASES = Path(__file__).parent / "cases"


def title(name: str) -> str:
    """What a case measures: the first line of its file."""
    with (_CASES / f"{name}.py").open(encoding="utf-8") as file:
        return file.readline().strip().strip('"').rstrip(".")


def run(name: str, sizes: Sizes, folder: Path) -> list[Figure]:
    """The figures of a case; it may write into the folder, which is empty."""
    figures: list[Figure] = import_module(f"benchmarks.cases.{name}").run(sizes, folder)
    return figures
