"""What bytes are, by their first marks: a table as text, another format of tables, or no table at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from qmtl.runtime.io.bar_files.byte_order import by_zeros, mark_of
from qmtl.runtime.io.bar_files.json_text import parsed

Kind = Literal["text", "json", "parquet", "arrow", "other"]


@dataclass(frozen=True)
class Contents:
    """`kind` is how bars can be read from it; "other" cannot. `what` and `next_step` are for people."""

    kind: Kind
    what: str
    next_step: str = ""


# First bytes, what bears them, and what to do with it.
_MARKS: tuple[tuple[bytes, Contents], ...] = (
    (b"PAR1", Contents("parquet", "a Parquet file")),
    (b"ARROW1", Contents("arrow", "a Feather or Arrow file")),
    (b"FEA1", Contents("other", "a Feather file of version 1", "write it again with a current pyarrow")),
    (b"%PDF-", Contents("other", "a PDF document", "get the table as CSV from where the document comes")),
    (
        b"\xd0\xcf\x11\xe0",
        Contents("other", "an old Excel workbook (.xls)", "save its sheet as CSV, and import that"),
    ),
    (b"\x89PNG", Contents("other", "a picture (PNG)", "a picture holds no numbers; export the data")),
    (b"\xff\xd8\xff", Contents("other", "a picture (JPEG)", "a picture holds no numbers; export the data")),
    (b"GIF8", Contents("other", "a picture (GIF)", "a picture holds no numbers; export the data")),
    (
        b"SQLite format 3\0",
        Contents(
            "other", "a SQLite database", "write its table as CSV: sqlite3 -header -csv FILE 'SELECT ...'"
        ),
    ),
    (b"\x89HDF", Contents("other", "an HDF5 file", "write its table as Parquet, for example with pandas")),
    (b"\x1f\x8b", Contents("other", "a gzip-ed file", "let its name end with .csv.gz")),
    (b"BZh", Contents("other", "a file packed by bzip2", "unpack it: bunzip2 FILE")),
    (b"\x28\xb5\x2f\xfd", Contents("other", "a file packed by zstd", "unpack it: zstd -d FILE")),
    (b"\xfd7zXZ\0", Contents("other", "a file packed by xz", "unpack it: unxz FILE")),
    (b"7z\xbc\xaf\x27\x1c", Contents("other", "a 7z archive", "unpack it, and import its files")),
    (b"Rar!", Contents("other", "a RAR archive", "unpack it, and import its files")),
    (b"DBN", Contents("other", "a Databento binary file (DBN)", "write it as CSV with DBNStore.to_csv")),
    (b"\x80\x04\x95", Contents("other", "a Python pickle", "write its frame as Parquet: frame.to_parquet")),
)
_WORKBOOK = Contents("other", "an Excel workbook (.xlsx)", "save its sheet as CSV, and import that")
_ZIP = Contents("other", "a zip archive", "let its name end with .zip, or unpack it")
_TAR = Contents("other", "a tar archive", "unpack it, and import its folder: all files are one import")
_EMPTY = Contents("other", "an empty file", "check the export that wrote it")
_BINARY = Contents(
    "other", "no text, and of no format that is known here", "export the bars as CSV or Parquet"
)

_HTML = re.compile(rb"\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_XML = re.compile(rb"\s*<\?xml|\s*<[a-z]", re.IGNORECASE)
# Under these names services say that they give no data; what they say stands behind.
_COMPLAINTS = (
    "error", "errors", "error message", "message", "msg", "information", "note", "detail", "reason", "code",
)  # fmt: skip


def contents_of(head: bytes) -> Contents:
    """What a file is whose first bytes, unpacked, are `head`."""
    if not head.strip(b"\xef\xbb\xbf \t\r\n\0"):
        return _EMPTY
    for mark, contents in _MARKS:
        if head.startswith(mark):
            return contents
    if head.startswith(b"PK\x03\x04"):
        return _WORKBOOK if b"xl/" in head[:4096] or b"[Content_Types].xml" in head[:256] else _ZIP
    if head[257:262] == b"ustar":
        return _TAR
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(text):
        return _page(text)
    if text[:1] in (b"{", b"["):
        return _json(text)
    if _XML.match(text) and b"\n" not in text[:1]:
        if not text.startswith(b"<") or b">" not in text[:200] or re.match(rb"<[A-Z]+>[\t,;]", text):
            return Contents("text", "text")
        return Contents("other", "XML", "ask the source for CSV or JSON")
    if b"\0" in head and mark_of(head) is None and by_zeros(head) is None:
        return _BINARY
    return Contents("text", "text")


def _page(text: bytes) -> Contents:
    page = text.decode("utf-8", errors="replace")
    title = _TITLE.search(page)
    words = " ".join((title[1] if title else _TAGS.sub(" ", page)).split())[:120]
    return Contents(
        "other",
        f"a web page (HTML){f': {words!r}' if words else ''}",
        "the source answered with a page instead of data: open it in a browser, and fetch the file again",
    )


def _json(text: bytes) -> Contents:
    complaint = _complaint(text)
    if complaint is None:
        return Contents("json", "JSON")
    return Contents(
        "other",
        f"an answer in JSON that holds no bars: {complaint}",
        "do what it asks for (a key, a plan, a pause), and fetch the file again",
    )


def _complaint(text: bytes) -> str | None:
    """What a service says instead of data; None if this may be data."""
    try:
        value = parsed(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or any(isinstance(inner, list) and inner for inner in value.values()):
        return None
    complaints = [
        f"{name}: {inner}" for name, inner in value.items() if inner and name.lower() in _COMPLAINTS
    ]
    return "; ".join(complaints)[:200] or None
