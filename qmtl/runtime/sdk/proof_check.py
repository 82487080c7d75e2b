"""A proof read back, and how a run that was repeated differs from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from qmtl.foundation.errors import InvalidRequestError, ProofError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.foundation.words import counted
from qmtl.runtime.replay.knowledge import Counts
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.sdk.proof import FORMAT, KnownBars, Proof, ReadRange

# How many differences are named in a message; the error has all of them.
_SHOWN = 5


def read_proof(source: Proof | Mapping[str, Any] | str | PathLike[str]) -> Proof:
    """A proof from its JSON values, or from a file of them. Raises `InvalidRequestError`."""
    if isinstance(source, Proof):
        return source
    named = "the proof" if isinstance(source, Mapping) else str(source)
    values = source if isinstance(source, Mapping) else proof_values(Path(source))
    if values.get("format") != FORMAT:
        raise InvalidRequestError(
            f"{named} has the format {values.get('format')!r}",
            why=f"this version reads the format {FORMAT}",
            next_step="run the strategy again, with `proof=FILE`",
        )
    try:
        return Proof(
            strategy=values["strategy"],
            source=values["source"],
            module=values.get("module"),  # proofs of before name the class alone
            span=_span(values),
            fills=FillModel(**values["fills"]),
            seed=values["seed"],
            read=tuple(_read_range(part) for part in values["read"]),
            known=KnownBars(
                values["knowledge"], Counts(*(values[name] for name in Counts._fields)), values["known"]
            ),
            outcome=values["outcome"],
            versions=dict(values["versions"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRequestError(
            f"{named} is no proof",
            why=f"{type(error).__name__}: {error}",
            next_step="give a file as `qmtl submit --proof FILE` writes it",
        ) from error


def refuse_differences(proven: Proof, found: Proof) -> None:
    """Raise `ProofError` where a repeated run was given something else, or came to something else."""
    differences = _differences(proven, found)
    if not differences:
        return
    shown = differences[:_SHOWN]
    if len(differences) > _SHOWN:
        shown.append(f"and {counted(len(differences) - _SHOWN, 'more difference')}")
    raise ProofError(
        f"the run of {proven.strategy} does not repeat its proof",
        differences=differences,
        why="; ".join(shown),
        next_step="repeat it with the strategy, the store and the versions that the proof names",
    )


def _differences(proven: Proof, found: Proof) -> list[str]:
    module = found.module if proven.module else None
    differences = [
        f"{name}: {mine} now, {theirs} in the proof"
        for name, mine, theirs in (
            ("strategy", found.strategy, proven.strategy),
            ("source", found.source, proven.source),
            ("module", module, proven.module),
            ("known", found.known.digest, proven.known.digest),
            *((name, found.versions.get(name), version) for name, version in proven.versions.items()),
        )
        if mine != theirs
    ]
    read = {(part.series, part.span): part.fingerprint for part in found.read}
    for part in proven.read:
        mine = read.pop((part.series, part.span), None)
        if mine != part.fingerprint:
            has = "is not read now" if mine is None else f"has the fingerprint {mine} now"
            differences.append(f"{part.series} {part.span} {has}, {part.fingerprint} in the proof")
    differences += [f"{series} {span} is not in the proof" for series, span in read]
    if proven.outcome != found.outcome:
        differences.append(f"outcome: {found.outcome} now, {proven.outcome} in the proof")
    # Other versions that come to the same end prove as much.
    same = proven.outcome == found.outcome
    return [one for one in differences if not (same and one.partition(":")[0] in proven.versions)]


def proof_values(path: Path) -> Mapping[str, Any]:
    """The JSON values of a file. Raises `InvalidRequestError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidRequestError(
            f"there is no file {path}", next_step="write one: qmtl submit ... --proof FILE"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidRequestError(
            f"{path} cannot be read as JSON",
            why=str(error),
            next_step="give a file as `qmtl submit --proof FILE` writes it",
        ) from error
    if not isinstance(values, dict):
        raise InvalidRequestError(
            f"{path} is no proof", next_step="give a file as `qmtl submit --proof FILE` writes it"
        )
    return values


def _span(values: Mapping[str, Any]) -> Span:
    return Span(to_ns(values["start"]), to_ns(values["end"]))


def _read_range(values: Mapping[str, Any]) -> ReadRange:
    return ReadRange(
        values["series"],
        _span(values),
        values["fingerprint"],
        values["as_of"],
        values["schema_id"],
        values["passes"],
    )
