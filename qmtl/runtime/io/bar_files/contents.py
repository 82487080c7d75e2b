"""Files that are not what their name says: a page of HTML, or an error message of a service."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.runtime.io.bar_files.json_text import parsed

_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(r"\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body|\?xml|!doctype)", re.IGNORECASE)
_SHOWN = 200

HEAD = 1 << 16  # bytes that are enough to recognize the content


def refuse_page(head: bytes, name: str) -> None:
    """Raise `InvalidRequestError` with what it says if these are the first bytes of HTML or XML."""
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    if not _HTML.match(text):
        return
    found = _TITLE.search(text)
    message = html.unescape(" ".join((found[2] if found else re.sub(r"<[^>]*>", " ", text)).split()))
    raise InvalidRequestError(
        f"{name} is a web page, and no table",
        why=f"it says: {message[:_SHOWN]!r}" if message else f"it starts with {text[:80]!r}",
        next_step="a server answered with a message in place of the file: fetch it again",
    )


def refuse_json(head: bytes, name: str) -> None:
    """Raise `InvalidRequestError` if these are the first bytes of JSON in a file that should be CSV."""
    text = head.decode("utf-8", "replace").lstrip("\ufeff").lstrip()
    if text[:1] not in ("{", "["):
        return
    try:
        value = parsed(text)
    except ValueError:
        # A longer text is cut here; a quoted name after the brace is enough to recognize an object.
        if not re.match(r'\{\s*"[^"]*"\s*:|\[\s*[\[{]', text):
            return
        value = None
    if value is not None and not isinstance(value, dict | list):
        return
    raise (
        not_a_table(value, name, text)
        if _is_message(value)
        else InvalidRequestError(
            f"{name} is JSON, and its name says CSV",
            why=f"it starts with {text[:80]!r}",
            next_step="give it the suffix .json, or .jsonl if each line is one bar",
        )
    )


def not_a_table(value: Any, name: str, text: str) -> InvalidRequestError:
    """For JSON that holds no table: what it says instead."""
    message = text if value is None and text else json.dumps(value, ensure_ascii=False)
    return InvalidRequestError(
        f"{name} holds no table; it is a message",
        why=f"it says: {message[:_SHOWN]}",
        next_step="a service answered with a message in place of bars: ask it again",
    )


def _is_message(value: Any) -> bool:
    """An object whose values are all texts, numbers and the like, and no table."""
    return isinstance(value, dict) and not any(isinstance(inner, list) for inner in _inner(value))


def _inner(value: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for each in value.values():
        found.append(each)
        if isinstance(each, dict):
            found += _inner(each)
    return found
