"""Parts of a path as they were sent: routes see %2F as it is (see `RawPaths`), and decode their own parts."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.convertors import StringConvertor, register_url_convertor


class _Segment(StringConvertor):
    """One part of a path, an empty one too: the service says what is wrong with that."""

    regex = "[^/]*"


# In a route: `/subjects/{subject:segment}`.
register_url_convertor("segment", _Segment())


def decoded(segment: str) -> str:
    """The text of a percent-encoded part of a path. Raises `UnicodeDecodeError`, which is a `ValueError`."""
    return unquote_to_bytes(segment).decode()
