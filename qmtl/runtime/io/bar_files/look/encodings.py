"""How the bytes of a text are encoded, as far as bytes can tell, and lines made visible."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
# Of the encodings of eight bits; what they differ in are letters, never digits.
_EIGHT_BITS = ("cp1252", "cp1250", "cp1251")
_OTHERS = ("gb18030", "shift_jis", "latin-1")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Encoding:
    """name: as Python knows it. option: what a reader must be told, if anything. what: for people."""

    name: str
    option: str | None
    what: str


def encoding_of(head: bytes) -> Encoding:
    """The encoding of the first bytes of a text; the first of several in which they are letters."""
    for mark, name, what in _MARKS:
        if head.startswith(mark):
            return Encoding(name, None, what)
    if b"\0" in head[:512]:
        name = "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
        return Encoding(name, name, "UTF-16 without a mark")
    if _decodes(head, "utf-8"):
        return Encoding("utf-8", None, "UTF-8")
    for name in (*_EIGHT_BITS, *_OTHERS):
        if _decodes(head, name):
            alike = " or ".join(one for one in _EIGHT_BITS if one != name) if name in _EIGHT_BITS else ""
            what = f"not UTF-8; read as {name}" + (f" ({alike} differ in letters only)" if alike else "")
            return Encoding(name, name, what)
    raise AssertionError("latin-1 decodes everything")


def decoded(data: bytes, name: str) -> str:
    """The text of a part of a file: what its last bytes leave unfinished is left out."""
    return codecs.getincrementaldecoder(name)(errors="replace").decode(data, final=False)


def lines_of(text: str) -> list[str]:
    """Lines without their ends; blank ones at the very end are none."""
    lines = _LINE_END.split(text)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def visible(line: str, width: int = 160) -> str:
    """A line in which control characters, odd blanks and the mark of UTF-8 can be seen."""
    shown = "".join(_shown(character) for character in line[:width])
    return shown + ("..." if len(line) > width else "")


def _shown(character: str) -> str:
    if character == "\t":
        return "→"
    if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") or character == "\u00a0":
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    return character


def _decodes(data: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(data, final=False)
    except UnicodeDecodeError:
        return False
    return True
