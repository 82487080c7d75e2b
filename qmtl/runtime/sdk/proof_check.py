"""How a run that was repeated differs from its proof: what refutes it, and what is only told.

Range, fill model, seed and way of knowing are what a run is repeated with; it has them by itself. All other
fields are compared. Three of them may differ although the same bars led to the same end, and refute nothing
then: versions; the schema by which bars are checked, which a registry may have replaced since; and findings,
which may have been accepted since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qmtl.foundation.errors import ProofError
from qmtl.foundation.words import counted
from qmtl.runtime.sdk.proof import Proof, ReadRange

# How many differences are named in a message; the error has all of them.
_SHOWN = 5


class Differences(NamedTuple):
    """In words. refuting: the run does not repeat its proof. told: it does, in spite of these."""

    refuting: list[str]
    told: list[str]


def differences(proven: Proof, found: Proof) -> Differences:
    """Between a proof and that of the repeated run."""
    mine, theirs = found.to_json(), proven.to_json()
    has_module = proven.module is not None or proven.source is None
    apart = {"read", "versions", "outcome"} if has_module else {"read", "versions", "outcome", "module"}
    versions = list(_differing(mine["versions"], theirs["versions"]))
    read = _of_read(proven.read, found.read)
    plain = [{name: of[name] for name in of if name not in apart} for of in (mine, theirs)]
    refuting = [
        *_differing(*plain),
        *read.refuting,
        *_differing({"outcome": found.outcome}, {"outcome": proven.outcome}),
    ]
    told = read.told
    if not has_module:
        told = [f"module: {found.module} now, not in the proof", *told]
    # Other versions that come to the same end prove as much; else they may be the reason.
    if refuting:
        return Differences([*versions, *refuting], told)
    return Differences([], [*versions, *told])


def refuse_differences(proven: Proof, found: Proof) -> None:
    """Raise `ProofError` where a repeated run was given something else, or came to something else."""
    refuting = differences(proven, found).refuting
    if not refuting:
        return
    raise ProofError(
        f"the run of {proven.strategy} does not repeat its proof",
        differences=refuting,
        why="; ".join(first_few(refuting)),
        next_step="repeat it with the strategy, the store and the versions that the proof names",
    )


def first_few(words: list[str]) -> list[str]:
    """A few of many differences, and how many more there are."""
    more = len(words) - _SHOWN
    return words if more <= 0 else [*words[:_SHOWN], f"and {counted(more, 'more difference')}"]


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*theirs, *mine]):
        now, then = mine.get(name, "nothing"), theirs.get(name, "nothing")
        if now != then:
            yield f"{name}: {now} now, {then} in the proof"


def _of_read(proven: tuple[ReadRange, ...], found: tuple[ReadRange, ...]) -> Differences:
    refuting, told = [], []
    by_range = {(part.series, part.span): part for part in found}
    order = []
    for part in proven:
        key = (part.series, part.span)
        now = by_range.pop(key, None)
        if now is None:
            refuting.append(f"{part.series} {part.span} is not read now")
            continue
        order.append(key)
        for name in ("fingerprint", "as_of"):
            mine, theirs = getattr(now, name), getattr(part, name)
            if mine != theirs:
                refuting.append(f"{part.series} {part.span} has the {name} {mine} now, {theirs} in the proof")
        if now.schema_id != part.schema_id:
            told.append(
                f"{part.series} {part.span} is checked by {now.schema_id} now, {part.schema_id} in the proof"
            )
        if part.passes and not now.passes:
            refuting.append(f"{part.series} {part.span} has findings now, none in the proof")
        elif now.passes and not part.passes:
            told.append(f"{part.series} {part.span} has findings in the proof, none that raises now")
    refuting += [f"{series} {span} is not in the proof" for series, span in by_range]
    if not refuting and order != [(part.series, part.span) for part in found]:
        refuting.append("read: the same ranges, in another order")
    return Differences(refuting, told)
