"""How large a pair of schemas may be: beyond these bounds the answer is "undecided", never a crash."""

from __future__ import annotations

# Reading a schema takes up to two stack frames of Python's 1,000 for each level.
MAX_NESTING = 200
# Levels of an instance that is shown; it is also walked by the library, one call inside another.
MAX_HEIGHT = 100
# Values within one instance, and within all that one verdict shows.
MAX_PARTS = 10_000
MAX_PARTS_IN_ALL = 1_000_000
# Pairs of types that are looked at; reached only by schemas of megabytes.
MAX_PAIRS = 500_000


class TooDeep(Exception):
    """A schema is nested deeper than `MAX_NESTING`; caught where the verdict is made."""


class TooLarge(Exception):
    """More than `MAX_PAIRS` pairs would have to be compared; caught where the verdict is made."""
