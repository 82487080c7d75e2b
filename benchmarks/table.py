"""The figures as a table: for a terminal, and for the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.figures import ARCTIC, DUCKDB, PARQUET, Figure

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = (
    *("", "measured", "p10 - p90", "faults", "goal", "met", "floor", "x floor"),
    *("DuckDB raw", "polars raw", "ArcticDB raw"),
)
NOT_INSTALLED = "not installed"
_KEPT = {True: "yes", False: "NO", None: ""}


class Row(NamedTuple):
    """The cells of one figure, as texts, in the order of HEADINGS."""

    what: str
    measured: str
    spread: str
    faults: str
    goal: str
    kept: str
    floor: str
    ratio: str
    duckdb: str
    polars: str
    arctic: str


def row_of(figure: Figure) -> Row:
    """A figure as texts; all numbers are in the unit of what was measured."""
    unit, peers = figure.unit, figure.peers
    bound = ">=" if figure.more_is_better else "<="
    return Row(
        figure.what,
        f"{number(figure.measured)} {unit}",
        "" if figure.spread is None else " - ".join(map(number, figure.spread)),
        "" if figure.faults is None else f"{figure.faults:,.0f}",
        "" if figure.goal is None else f"{bound} {number(figure.goal)}",
        _KEPT[figure.is_met],
        number(figure.floor),
        "" if figure.ratio is None else number(figure.ratio),
        number(peers.get(DUCKDB)),
        number(peers.get(PARQUET, peers.get("polars"))),
        NOT_INSTALLED if ARCTIC in peers and peers[ARCTIC] is None else number(peers.get(ARCTIC)),
    )


def floors_of(figures: Iterable[Figure]) -> str:
    """What the floors of a case are, each named once."""
    return "; ".join(dict.fromkeys(figure.floor_is for figure in figures if figure.floor_is))


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def for_terminal(results: Mapping[str, list[Figure]], skipped: Mapping[str, str]) -> Table:
    """A rich table with one section per case."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(HEADINGS[0])
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for title, figures in results.items():
        table.add_section()
        table.add_row(f"[bold]{escape(title)}")
        for figure in figures:
            row = row_of(figure)
            colour = {True: "green", False: "red", None: ""}[figure.is_met]
            table.add_row(f"  {escape(row.what)}", *row[1:], style=colour)
        table.add_row(f"  [dim]floor: {escape(floors_of(figures))}")
    for title, reason in skipped.items():
        table.add_section()
        table.add_row(f"[bold]{escape(title)}")
        table.add_row(f"  [yellow]skipped: {escape(reason)}")
    return table


def for_markdown(
    results: Mapping[str, list[Figure]], skipped: Mapping[str, str], facts: Mapping[str, str]
) -> str:
    """The facts of the machine in one line, then each case under a heading: its floor, and its table.

    What was skipped stands at the end, with what it lacked.
    """
    return "\n".join(_markdown_lines(results, skipped, facts))


def _markdown_lines(
    results: Mapping[str, list[Figure]], skipped: Mapping[str, str], facts: Mapping[str, str]
) -> Iterator[str]:
    yield "; ".join(f"{name} {value}" for name, value in facts.items()) + "."
    for title, figures in results.items():
        rows = [row_of(figure) for figure in figures]
        # A column that says nothing in this case would only push the others off the page.
        shown = [column for column in range(len(HEADINGS)) if column == 0 or any(row[column] for row in rows)]
        yield from ("", f"### {title}", "", f"Floor: {floors_of(figures)}.", "")
        yield _line(HEADINGS[column] for column in shown)
        yield "| --- |" + " ---: |" * (len(shown) - 1)
        for row in rows:
            yield _line(row[column] for column in shown)
    for title, reason in skipped.items():
        yield from ("", f"### {title}", "", f"Skipped: {reason}.")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def update_document(path: Path, content: str, *, of: str = "figures") -> None:
    """Put the content between the markers named so. Raises `ValueError` if the document has none."""
    begin, end = f"<!-- {of}: begin -->", f"<!-- {of}: end -->"
    document = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{path} has no lines {begin} and {end}; add them where the table belongs")
    path.write_text(pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", document), encoding="utf-8")
