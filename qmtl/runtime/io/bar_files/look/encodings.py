"""How the bytes of a text are encoded, as far as bytes can tell, and lines made visible."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from qmtl.runtime.io.bar_files.byte_order import by_zeros, mark_of

# All of them read digits and marks of ASCII alike. What they differ in are letters.
_NOT_UNICODE = ("cp1252", "cp1250", "cp1251", "gb18030", "shift_jis", "euc_kr")
_NOT_ASCII = re.compile(rb"[^,;\t|\"\r\n]{0,16}[\x80-\xff][^,;\t|\"\r\n]{0,16}")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Encoding:
    """name: as Python knows it. option: what a reader needs to be given, if anything. what: for people.

    doubt: what else the bytes may mean, where they do not tell.
    """

    name: str
    option: str | None
    what: str
    doubt: str | None = None


def encoding_of(head: bytes) -> Encoding:
    """The encoding of the first bytes of a text; the first of several in which they are letters."""
    if (mark := mark_of(head)) is not None:
        return Encoding(mark.encoding, None, f"{mark.encoding.removesuffix('-sig').upper()} with a mark")
    if (name := by_zeros(head)) is not None:
        return Encoding(name, name, f"{name[:6].upper()} without a mark")
    if _decodes(head, "utf-8"):
        return Encoding("utf-8", None, "UTF-8")
    fitting = [name for name in _NOT_UNICODE if _decodes(head, name)] or ["latin-1"]
    return Encoding(fitting[0], fitting[0], f"not UTF-8; read as {fitting[0]}", _doubt(head, fitting))


def _doubt(head: bytes, fitting: Sequence[str]) -> str | None:
    """The first letters beyond ASCII in each of the encodings that fit; None if they are the same."""
    found = _NOT_ASCII.search(head)
    if found is None or len(fitting) < 2:
        return None
    texts: dict[str, list[str]] = {}
    for name in fitting:
        texts.setdefault(decoded(found[0], name), []).append(name)
    if len(texts) < 2:
        return None
    meanings = ", ".join(f"{' or '.join(names)} {visible(text)!r}" for text, names in texts.items())
    return f"the bytes do not tell the encoding: in {meanings}; `encoding=` names the one that is meant"


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
