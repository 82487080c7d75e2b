"""Objects that hold what they must, and little beside it."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from itertools import islice
from typing import Any

from qmtl.foundation.schema.compatibility.json_schema.constraints.cases import Cases
from qmtl.foundation.schema.compatibility.json_schema.constraints.objects import Objects, close
from qmtl.foundation.schema.compatibility.json_schema.constraints.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.instances.inner_values import InnerValues
from qmtl.foundation.schema.compatibility.json_schema.regex_language.search import Wanted, find_words

_MISSING = object()
_MOST_SPARE = 40


def objects(
    examples: InnerValues, constraints: Objects, fixed: dict[str, Any], absent: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """Objects of `constraints` with `fixed`, without the names of `absent`: the smallest, then variants."""
    needed = close({*constraints.required, *fixed}, constraints.dependents)
    if needed & absent:
        return
    smallest = {}
    for name in constraints.in_order(needed):
        try:
            smallest[name] = fixed[name] if name in fixed else examples.first(constraints, name)
        except LookupError:
            return
    filled = _filled(examples, constraints, smallest, absent)
    if filled is not None:
        yield filled
    for name in [name for name in smallest if name not in fixed]:
        for value in examples.of(constraints.of(name), 4):
            variant = _filled(examples, constraints, smallest | {name: value}, absent)
            if variant is not None:
                yield variant
    for name in constraints.names:
        if name not in smallest and name not in absent:
            for value in examples.of(constraints.of(name), 2):
                variant = _filled(examples, constraints, smallest | {name: value}, absent)
                if variant is not None:
                    yield variant


def _filled(
    examples: InnerValues, constraints: Objects, found: dict[str, Any], absent: frozenset[str]
) -> dict[str, Any] | None:
    """`found` with as many more properties as the constraints require; None where there are not enough."""
    if len(found) >= constraints.fewest:
        return found
    found = dict(found)
    for name in spare_names(constraints, absent | found.keys()):
        value = next(examples.of(constraints.of(name), 1), _MISSING)
        if value is not _MISSING and not (close({name}, constraints.dependents) - {name, *found}):
            found[name] = value
        if len(found) >= constraints.fewest:
            return found
    examples.is_cut = True
    return None


def spare_names(constraints: Objects, taken: frozenset[str]) -> Iterator[str]:
    """Names of further properties: known ones, those of patterns, then any that are allowed."""
    known = [name for name in constraints.names if name not in taken]
    yield from (name for name in known if not constraints.is_refused(name))
    met = {*taken, *known}
    for pattern in constraints.patterns:
        for name in other_names(constraints, met, accept=(pattern,), limit=_MOST_SPARE):
            met.add(name)
            yield name
    if not constraints.no_others:
        yield from other_names(constraints, met, refuse=tuple(constraints.patterns), limit=_MOST_SPARE)


def other_names(
    constraints: Objects,
    taken: set[str],
    *,
    accept: tuple[str, ...] = (),
    refuse: tuple[str, ...] = (),
    limit: int = 3,
) -> Iterator[str]:
    """Different names that the constraints allow and that are not `taken`."""
    wanted = Wanted(accept, refuse, shortest=1)
    for case in Cases().of(constraints.of_names):
        if isinstance(case, Strings):
            of_names = case.wanted
            wanted = Wanted(
                (*accept, *of_names.accept),
                (*refuse, *of_names.refuse),
                max(1, of_names.shortest),
                of_names.longest,
            )
            break
    met = set(taken)
    for name in islice(_thought_of(wanted), 20 * limit):
        if name not in met and _allowed(name, wanted) and not constraints.is_refused(name):
            met.add(name)
            yield name
            if len(met) - len(taken) >= limit:
                return


def _thought_of(wanted: Wanted) -> Iterator[str]:
    """Names that a person would think of, then what the expressions lead to, then changes of those."""
    yield from ("other", "other1", "other2")
    found = find_words(wanted, 3).found
    yield from found
    letters = string.ascii_lowercase + string.digits
    yield from (f"{name}{letter}" for name in found for letter in letters)
    yield from (f"{name[:-1]}{letter}" for name in found for letter in letters)
    yield from (f"other{count}" for count in range(3, 1_000))


def _allowed(name: str, wanted: Wanted) -> bool:
    if len(name) < wanted.shortest or (wanted.longest is not None and len(name) > wanted.longest):
        return False
    try:
        return all(re.search(one, name) for one in wanted.accept) and not any(
            re.search(one, name) for one in wanted.refuse
        )
    except re.error:
        return False
