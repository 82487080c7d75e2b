"""Instances that fulfil given terms: a few of each case, built from the inside out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

from qmtl.foundation.schema.bounded_cache import BoundedCache
from qmtl.foundation.schema.compatibility.json_schema.constraints.arrays import Arrays
from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import AnyConstraints, Cases
from qmtl.foundation.schema.compatibility.json_schema.constraints.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.constraints.objects import Objects
from qmtl.foundation.schema.compatibility.json_schema.constraints.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.constraints.values import Values
from qmtl.foundation.schema.compatibility.json_schema.equality import shortness
from qmtl.foundation.schema.compatibility.json_schema.instances.arrays import arrays
from qmtl.foundation.schema.compatibility.json_schema.instances.numbers import numbers
from qmtl.foundation.schema.compatibility.json_schema.instances.objects import objects
from qmtl.foundation.schema.compatibility.json_schema.instances.sizes import is_small
from qmtl.foundation.schema.compatibility.json_schema.instances.strings import LONGEST_STRING, strings
from qmtl.foundation.schema.compatibility.json_schema.node import Term, Terms

_DEEPEST = 30
_NOTHING = object()

# Versions of a schema repeat most of their parts. The examples of a part that refers to nothing are kept for
# all comparisons, by dialect, text and number. The room is in characters.
_known_examples: BoundedCache[tuple[str, str, int], tuple[Any, ...]] = BoundedCache(4 * 2**20)
_LONGEST_KEPT = 2_000
# Of how many numbers the shortest is the first example.
_LOOKED_AT = 24


class _Built(NamedTuple):
    values: tuple[Any, ...]
    is_cut: bool


class Examples:
    """Builds instances. Inside an instance of some terms none of the same terms is built again, so that what
    refers to itself comes to an end.

    Examples are shared, also between comparisons: never change one.

    is_cut: whether some instance was too large to be built, since somebody last set this to False.
    """

    def __init__(self, cases: Cases) -> None:
        self._cases = cases
        self._built: dict[tuple[frozenset[Term], int], _Built] = {}
        self._building: set[frozenset[Term]] = set()
        self.is_cut = False

    def of(self, terms: Terms, limit: int = 8) -> Iterator[Any]:
        """Values that each of `terms` allows, as far as can be decided; the cases take turns."""
        name = frozenset(terms)
        built = self._built.get((name, limit))
        if built is None:
            if name in self._building or len(self._building) >= _DEEPEST:
                return iter(())
            built = self._known_or_new(name, terms, limit)
            if built.values:
                self._built[name, limit] = built
            # Without any: perhaps only because it was asked for inside itself.
        self.is_cut |= built.is_cut
        return iter(built.values)

    def _known_or_new(self, name: frozenset[Term], terms: Terms, limit: int) -> _Built:
        content = self._content(terms)
        known = None if content is None else _known_examples.get((*content, limit))
        if known is not None:
            return _Built(known, False)
        was_cut, self.is_cut = self.is_cut, False
        self._building.add(name)
        try:
            values = tuple(islice(self._turns(terms, limit), limit))
            built = _Built(values, self.is_cut)
        finally:
            self._building.remove(name)
            self.is_cut = was_cut
        if content is not None and values and not built.is_cut:
            size = len(repr(values))
            if size <= _LONGEST_KEPT:
                _known_examples.put((*content, limit), values, size + sum(map(len, content)))
        return built

    def _content(self, terms: Terms) -> tuple[str, str] | None:
        """Dialect and text of a single node that is asked for, if its examples follow from these alone."""
        if len(terms) != 1 or not terms[0].holds:
            return None
        node = terms[0].node
        # Where the limit of nesting may be reached before the node's own depth, fewer examples are found.
        return node.content if len(self._building) + node.levels <= _DEEPEST else None

    def first(self, constraints: Objects, name: str) -> Any:
        """The first example of what a property of a case fulfils. Raises `LookupError` without one."""
        known = constraints.first.get(name)
        if known is not None and len(self._building) + known[1] <= _DEEPEST:
            return known[0]
        terms = constraints.of(name)
        was_cut, self.is_cut = self.is_cut, False
        value = next(self.of(terms, 1), _NOTHING)
        is_cut, self.is_cut = self.is_cut, self.is_cut or was_cut
        if value is _NOTHING:
            raise LookupError(name)
        if not is_cut and self._content(terms) is not None and len(repr(value)) <= _LONGEST_KEPT:
            constraints.first[name] = (value, terms[0].node.levels)
        return value

    def _turns(self, terms: Terms, limit: int) -> Iterator[Any]:
        cases = [self.of_case(constraints, limit) for constraints in self._cases.of(terms)]
        turns = (value for turn in zip_longest(*cases, fillvalue=_NOTHING) for value in turn)
        values = (value for value in turns if value is not _NOTHING)
        return (value for value in islice(values, 3 * limit) if fulfils(terms, value))

    def of_case(self, constraints: AnyConstraints, limit: int = 8) -> Iterator[Any]:
        """Values of one case."""
        match constraints:
            case Values():
                yield from sorted(constraints.values, key=shortness)
            case Numbers():
                first = sorted(islice(numbers(constraints, (0,)), _LOOKED_AT), key=shortness)[:1]
                yield from islice(chain(first, numbers(constraints, (1,)), numbers(constraints)), limit)
            case Strings():
                self.is_cut |= constraints.wanted.shortest > LONGEST_STRING
                yield from strings(constraints, limit=limit)
            case Objects() | Arrays():
                yield from islice(self.around(constraints), limit)

    def around(
        self, constraints: Objects | Arrays, fixed: Any = None, absent: frozenset[str] = frozenset()
    ) -> Iterator[Any]:
        """Objects or arrays of one case that hold `fixed`: values by name, or by position."""
        whole: Iterator[Any] = (
            objects(self, constraints, fixed or {}, absent)
            if isinstance(constraints, Objects)
            else arrays(self, constraints, fixed or {})
        )
        return filter(self._is_bounded, whole)

    def _is_bounded(self, value: Any) -> bool:
        """Whether a value is no larger than what is shown; `is_cut` where it is."""
        fits = is_small(value)
        self.is_cut |= not fits
        return fits


def fulfils(terms: Terms, value: Any) -> bool:
    """Whether no term is known to exclude `value`."""
    return all(term.node.accepts(value) in (term.holds, None) for term in terms)
