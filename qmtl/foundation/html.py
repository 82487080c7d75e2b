"""Small pieces of HTML for notebooks, readable on light and on dark pages: no script, no colours of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Rows of a table that are shown; a last line counts the others.
MOST_ROWS = 100


def facts_table(rows: Iterable[tuple[str, str]]) -> str:
    """A name and a value a row."""
    cells = "".join(
        f"<tr><th style='text-align:left;white-space:nowrap;vertical-align:top'>{escaped(name)}</th>"
        f"<td style='text-align:left'>{escaped(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table style='color:inherit'>{cells}</table>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with a head; numbers stand to the right. Rows beyond `MOST_ROWS` are counted only."""
    every = list(rows)
    names = "".join(f"<th style='text-align:left'>{escaped(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in every[:MOST_ROWS])
    left = len(every) - MOST_ROWS
    if left > 0:
        body += f"<tr><td colspan='{len(head)}' style='text-align:left'>... and {left:,} more</td></tr>"
    return f"<table style='color:inherit'><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def title(text: str) -> str:
    """A line above a table."""
    return f"<p><b>{escaped(text)}</b></p>"


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"<td style='text-align:right'>{value:,}</td>"
    return f"<td style='text-align:left'>{escaped(str(value))}</td>"


def escaped(text: str) -> str:
    """Text as it stands between tags and in attributes."""
    from html import escape  # its table of names takes a while, and is needed in notebooks only

    return escape(text)
