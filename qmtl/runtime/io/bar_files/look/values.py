"""How numbers are written: which decimal marks, marks between thousands and words for nothing fit all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_GROUPS = (None, ",", ".", " ", "'", "_")
_MONEY = "$€£¥"
# A blank between thousands is often one at which no line is broken, as in French and Polish exports.
_BLANKS = " \u00a0\u202f"
_SPACED = re.compile(rf"[+-]?\d{{1,3}}(?:[{_BLANKS}]\d{{3}})+(?:[.,]\d*)?[KMBkmb%]?")
# Words that stand for no value; whatever else is no number stays a question. The largest integer of 64 bits
# is Databento's undefined price.
_NOTHING = re.compile(
    r"n/?a|null|none|nil|nan|-+|\.|\?|#n/a|--|n\.a\.|missing|void|9223372036854775807", re.IGNORECASE
)
# What polars and the reader take for empty or not a number by themselves.
_KNOWN = {"", "nan"}


def is_numeric(text: str) -> bool:
    """Whether a cell could be a number in some way of writing it."""
    return _loose(text) or text.strip().lower() in ("nan", "null")


def is_nothing(text: str) -> bool:
    """Whether a cell is empty, or holds a word that stands for no value."""
    return not text.strip() or _NOTHING.fullmatch(text.strip()) is not None


def marks_of(texts: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """All options `decimal` and `thousands` under which every text is a number or no value.

    The plain way comes first, and alone if there is no comma or space in any number.
    """
    numbers = [_bare(text) for text in texts if not is_nothing(text)]
    found: list[dict[str, Any]] = []
    for decimal in (".", ","):
        for group in _GROUPS:
            if group == decimal or not _is_used(group, numbers) or not _fit(numbers, decimal, group):
                continue
            # A decimal mark that no number has says nothing: "1,234" under `thousands=","` alone is enough.
            if decimal == "," and not any("," in number for number in numbers):
                continue
            options: dict[str, Any] = {} if decimal == "." else {"decimal": decimal}
            found.append(options if group is None else {**options, "thousands": group})
    return tuple(found)


def scales_of(texts: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Whole prices of ten digits and more may count 1e-9, as Databento's do, or mean what they say."""
    numbers = [_bare(text) for text in texts if not is_nothing(text)]
    if not numbers or not all(number.isdecimal() and len(number) >= 10 for number in numbers):
        return ({},)
    return {"scale": "open,high,low,close=0.000000001"}, {}


def null_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Words among these cells that stand for no value, and that a reader needs as an option."""
    words = {text.strip() for text in texts if text.strip() and is_nothing(text)}
    return tuple(sorted(word for word in words if word.lower() not in _KNOWN))


def number_of(text: str, marks: dict[str, Any]) -> float | None:
    """The number that a cell is under these marks, None if it is none."""
    bare = _bare(text)
    if group := marks.get("thousands"):
        bare = re.sub(_mark(group), "", bare)
    bare = bare.replace(marks.get("decimal", "."), ".").rstrip("KMBkmb%")
    try:
        return float(bare)
    except ValueError:
        return None


def _loose(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d[\d.,'_]*(?:[eE][+-]?\d+)?[KMBkmb%]?", _bare(text)) is not None or (
        re.fullmatch(r"[+-]?[.,]\d+", _bare(text)) is not None or _SPACED.fullmatch(_bare(text)) is not None
    )


def _mark(group: str) -> str:
    """What matches a mark between thousands."""
    return f"[{_BLANKS}]" if group == " " else re.escape(group)


def _bare(text: str) -> str:
    return text.strip().strip(_MONEY).strip()


def _is_used(group: str | None, numbers: Sequence[str]) -> bool:
    return group is None or any(re.search(_mark(group), number) for number in numbers)


def _fit(numbers: Sequence[str], decimal: str, group: str | None) -> bool:
    mark = re.escape(decimal)
    whole = r"\d+" if group is None else rf"(?:\d{{1,3}}(?:{_mark(group)}\d{{3}})+|\d+)"
    form = re.compile(rf"[+-]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?[KMBkmb%]?")
    return all(form.fullmatch(number) for number in numbers)
