"""Objects that hold what they must, and little beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from qmtl.foundation.schema.compatibility.json_schema.facts.cases import Cases
from qmtl.foundation.schema.compatibility.json_schema.facts.objects import Objects, close
from qmtl.foundation.schema.compatibility.json_schema.facts.strings import Strings
from qmtl.foundation.schema.compatibility.json_schema.words.search import Wanted, find_words, literally

if TYPE_CHECKING:
    from qmtl.foundation.schema.compatibility.json_schema.instances.examples import Examples


def objects(
    examples: Examples, facts: Objects, fixed: dict[str, Any], absent: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """Objects of `facts` with `fixed` and without the names of `absent`: the smallest, then variants."""
    needed = close({*facts.required, *fixed}, facts.dependents)
    if needed & absent:
        return
    choices: dict[str, list[Any]] = {}
    for name in sorted(needed, key=_order(facts)):
        choices[name] = [fixed[name]] if name in fixed else list(islice(examples.of(facts.of(name)), 4))
        if not choices[name]:
            return
    smallest = {name: values[0] for name, values in choices.items()}
    filled = _filled(examples, facts, smallest, absent)
    if filled is not None:
        yield filled
    for name, values in choices.items():
        for value in values[1:]:
            variant = _filled(examples, facts, smallest | {name: value}, absent)
            if variant is not None:
                yield variant
    for name in facts.names:
        if name not in smallest and name not in absent:
            for value in islice(examples.of(facts.of(name)), 2):
                variant = _filled(examples, facts, smallest | {name: value}, absent)
                if variant is not None:
                    yield variant


def _order(facts: Objects) -> Any:
    position = {name: index for index, name in enumerate(facts.names)}
    return lambda name: (position.get(name, len(position)), name)


def _filled(
    examples: Examples, facts: Objects, found: dict[str, Any], absent: frozenset[str]
) -> dict[str, Any] | None:
    """`found` with as many more properties as the facts want; None where there are not enough."""
    found = dict(found)
    for name in spare_names(facts, absent | found.keys()):
        if len(found) >= facts.fewest:
            break
        value = next(examples.of(facts.of(name)), _MISSING)
        if value is not _MISSING and not (close({name}, facts.dependents) - {name, *found}):
            found[name] = value
    return found if len(found) >= facts.fewest else None


_MISSING = object()


def spare_names(facts: Objects, taken: frozenset[str], limit: int = 40) -> Iterator[str]:
    """Names of further properties: known ones, those of patterns, then any that are allowed."""
    known = [name for name in facts.names if name not in taken and not facts.is_refused(name)]
    yield from known
    met = {*taken, *known}
    for pattern in facts.patterns:
        for name in other_names(facts, met, accept=(pattern,), limit=limit):
            met.add(name)
            yield name
    if not facts.no_others:
        for name in other_names(facts, met, refuse=tuple(facts.patterns), limit=limit):
            met.add(name)
            yield name


def other_names(
    facts: Objects,
    taken: set[str],
    *,
    accept: tuple[str, ...] = (),
    refuse: tuple[str, ...] = (),
    limit: int = 3,
) -> Iterator[str]:
    """Names that the facts allow and that are not `taken`, one after the other different."""
    base = Wanted(accept, refuse, shortest=1)
    for case in Cases().of(facts.of_names):
        if isinstance(case, Strings):
            base = base._replace(
                accept=(*accept, *case.wanted.accept),
                refuse=(*refuse, *case.wanted.refuse),
                shortest=max(1, case.wanted.shortest),
                longest=case.wanted.longest,
            )
            break
    # First names that a person would think of, then what the expressions lead to.
    thought_of = [
        name for name in (f"other{n}" if n else "other" for n in range(limit)) if _allowed(name, base)
    ]
    found = [name for name in thought_of if name not in taken and not facts.is_refused(name)]
    yield from found
    met = {*taken, *found}
    for _ in range(limit - len(found)):
        shut_out = tuple(literally(name) for name in sorted(met))[:60]
        for name in find_words(base._replace(refuse=(*base.refuse, *shut_out)), 1).found:
            met.add(name)
            if not facts.is_refused(name):
                yield name
            break
        else:
            return


def _allowed(name: str, wanted: Wanted) -> bool:
    if len(name) < wanted.shortest or (wanted.longest is not None and len(name) > wanted.longest):
        return False
    try:
        return all(re.search(one, name) for one in wanted.accept) and not any(
            re.search(one, name) for one in wanted.refuse
        )
    except re.error:
        return False
