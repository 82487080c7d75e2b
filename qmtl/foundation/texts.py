"""Texts that fit a screen: long lines and long lists are cut, and the text says so."""

from __future__ import annotations

from collections.abc import Iterable

MOST_LINES = 24
WIDEST = 100


def on_screen(lines: Iterable[str], *, most: int = MOST_LINES, width: int = WIDEST) -> str:
    """The lines as one text of at most `most` lines (at least 2) and `width` columns.

    The last line counts what was left out; a line that was cut ends with an ellipsis.
    """
    whole = [part for line in lines for part in line.splitlines() or [""]]
    if len(whole) > most:
        whole = [*whole[: most - 1], f"... and {len(whole) - most + 1:,} more lines"]
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in whole)


def fact_lines(facts: Iterable[tuple[str, str]]) -> list[str]:
    """A name and a value a line, the values one below the other."""
    return [f"{name:<12} {value}" for name, value in facts]
