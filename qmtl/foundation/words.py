"""Numbers as people write them, and texts of others as people may see them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `3,270 rows`. plural: of a noun that does not only add an s, such as `entries`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shown(text: str) -> str:
    """Text of others on a terminal: what would move the cursor or change colours is an escape, `\\x1b`.

    Line ends are such, too.
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shown_lines(text: str) -> str:
    """The same for text of several lines: its line ends and tabs stay."""
    return "".join(one if one in "\n\t" else shown(one) for one in text) if not text.isprintable() else text
