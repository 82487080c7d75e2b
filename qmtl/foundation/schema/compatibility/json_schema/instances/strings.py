"""Strings that constraints allow and a goal refuses."""

from __future__ import annotations

from collections.abc import Iterator

from qmtl.foundation.schema.compatibility.json_schema.constraints.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.regex_language.search import find_words

LONGEST_STRING = 100_000


def strings(
    constraints: Strings,
    *,
    refuse: tuple[str, ...] = (),
    shorter_than: int | None = None,
    longer_than: int | None = None,
    limit: int = 6,
) -> Iterator[str]:
    """Strings of `constraints`, further narrowed, shortest first."""
    wanted = constraints.wanted
    shortest = wanted.shortest if longer_than is None else max(wanted.shortest, longer_than + 1)
    longest = wanted.longest
    if shorter_than is not None:
        longest = shorter_than - 1 if longest is None else min(longest, shorter_than - 1)
    if shortest > LONGEST_STRING:
        return
    if not (wanted.accept or wanted.refuse or refuse):
        last = shortest + limit - 1
        last = last if longest is None else min(last, longest)
        yield from ("a" * length for length in range(shortest, last + 1))
        return
    narrowed = wanted._replace(refuse=(*wanted.refuse, *refuse), shortest=shortest, longest=longest)
    yield from find_words(narrowed, limit).found
