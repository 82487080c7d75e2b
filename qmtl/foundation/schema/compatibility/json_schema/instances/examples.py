"""Instances that fulfil given terms: a few of each case, built from the inside out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.facts.arrays import Arrays
from qmtl.foundation.schema.compatibility.json_schema.facts.cases import Cases, Facts
from qmtl.foundation.schema.compatibility.json_schema.facts.numbers import Numbers
from qmtl.foundation.schema.compatibility.json_schema.facts.objects import Objects
from qmtl.foundation.schema.compatibility.json_schema.facts.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.facts.values import Values
from qmtl.foundation.schema.compatibility.json_schema.instances.arrays import arrays
from qmtl.foundation.schema.compatibility.json_schema.instances.numbers import numbers
from qmtl.foundation.schema.compatibility.json_schema.instances.objects import objects
from qmtl.foundation.schema.compatibility.json_schema.instances.strings import strings
from qmtl.foundation.schema.compatibility.json_schema.place import Term, Terms

_DEEPEST = 30
_NOTHING = object()

# Versions of a schema repeat most of their parts. What a part that stands for itself led to is kept for all
# comparisons, by its dialect and text: a few values, none of which such a part can make large.
_MOST_KEPT = 4096
_LONGEST_KEPT = 500
_MAY_GROW = re.compile(r'"(min(Length|Items|Properties|Contains)|pattern)')
_kept: dict[tuple[object, str, int], list[Any]] = {}


class Examples:
    """Builds instances. Inside an instance of some terms none of the same terms is built again, so that what
    refers to itself comes to an end."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases
        self._built: dict[tuple[frozenset[Term], int], list[Any]] = {}
        self._building: set[frozenset[Term]] = set()

    def of(self, terms: Terms, limit: int = 8) -> Iterator[Any]:
        """Values that each of `terms` allows, as far as can be told; the cases take turns."""
        name = frozenset(terms)
        if (name, limit) not in self._built:
            if name in self._building or len(self._building) >= _DEEPEST:
                return iter(())
            part = _part(terms)
            found = [] if part is None else _kept.get((*part, limit), [])
            if not found:
                self._building.add(name)
                try:
                    found = list(islice(self._turns(terms, limit), limit))
                finally:
                    self._building.remove(name)
                if part is not None and found:
                    if len(_kept) >= _MOST_KEPT:
                        _kept.clear()
                    _kept[*part, limit] = found
            if not found:
                # Perhaps only because it was asked for inside itself.
                return iter(())
            self._built[name, limit] = found
        return iter(self._built[name, limit])

    def _turns(self, terms: Terms, limit: int) -> Iterator[Any]:
        cases = [self.of_case(facts, limit) for facts in self._cases.of(terms)]
        turns = (value for turn in zip_longest(*cases, fillvalue=_NOTHING) for value in turn)
        values = (value for value in turns if value is not _NOTHING)
        return (value for value in islice(values, 3 * limit) if fulfils(terms, value))

    def of_case(self, facts: Facts, limit: int = 8) -> Iterator[Any]:
        """Values of one case."""
        match facts:
            case Values():
                yield from facts.values
            case Numbers():
                yield from islice(chain(numbers(facts, (1,)), numbers(facts)), limit)
            case Strings():
                yield from strings(facts, limit=limit)
            case Objects() | Arrays():
                yield from islice(self.around(facts), limit)

    def around(
        self, facts: Objects | Arrays, fixed: Any = None, absent: frozenset[str] = frozenset()
    ) -> Iterator[Any]:
        """Objects or arrays of one case that hold `fixed`: values by name, or by position."""
        if isinstance(facts, Objects):
            return objects(self, facts, fixed or {}, absent)
        return arrays(self, facts, fixed or {})


def _part(terms: Terms) -> tuple[object, str] | None:
    """Dialect and text of a single small place that is asked for and refers to nothing; else None."""
    if len(terms) != 1 or not terms[0].holds:
        return None
    place = terms[0].place
    if place.depends_on_position or len(place.text) > _LONGEST_KEPT or _MAY_GROW.search(place.text):
        return None
    return place.dialect, place.text


def fulfils(terms: Terms, value: Any) -> bool:
    """Whether nothing speaks against `value`."""
    return all(term.place.accepts(value) in (term.holds, None) for term in terms)
