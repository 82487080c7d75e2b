"""A proof read back from its JSON values: each field is there and of its kind, or the proof is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.replay.knowledge import Counts
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.sdk.proof import FORMAT, KNOWLEDGE, KnownBars, Proof, ReadRange

_GIVE = "give a file as `qmtl submit --proof FILE` writes it"

# Beside the fields of a proof: what was submitted, for 'qmtl replay verify'. Proofs of before have no module.
_OPTIONAL = frozenset({"submitted", "module"})


def read_proof(source: Proof | Mapping[str, Any] | str | PathLike[str]) -> Proof:
    """A proof from its JSON values, or from a file of them. Raises `InvalidRequestError`."""
    if isinstance(source, Proof):
        return source
    if not isinstance(source, Mapping | str | PathLike):
        raise InvalidRequestError(
            f"{source!r} is no proof", next_step="give `result.proof`, its JSON values, or a file of them"
        )
    named = "the proof" if isinstance(source, Mapping) else str(source)
    values = source if isinstance(source, Mapping) else proof_values(Path(source))
    if values.get("format") != FORMAT or isinstance(values["format"], bool):
        raise InvalidRequestError(
            f"{named} has the format {values.get('format')!r}",
            why=f"this version reads the format {FORMAT}",
            next_step="run the strategy again, with `proof=FILE`",
        )
    try:
        return _proof(values)
    except _Unreadable as slip:
        raise InvalidRequestError(f"{named} is no proof", why=str(slip), next_step=_GIVE) from None
    except InvalidRequestError as error:  # of a time, or of a fill model
        raise InvalidRequestError(f"{named} is no proof", why=error.what, next_step=_GIVE) from error


def proof_values(path: Path) -> Mapping[str, Any]:
    """The JSON values of a file. Raises `InvalidRequestError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidRequestError(
            f"there is no file {path}", next_step="write one: qmtl submit ... --proof FILE"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"{path} cannot be read as JSON", why=str(error), next_step=_GIVE
        ) from error
    if not isinstance(values, dict):
        raise InvalidRequestError(f"{path} is no proof", next_step=_GIVE)
    return values


def submitted_values(path: Path, values: Mapping[str, Any]) -> dict[str, str | None]:
    """What a command has written beside a proof: the strategy, the world and the preset that were submitted.

    Raises `InvalidRequestError` for anything else.
    """
    found = values.get("submitted") or {}
    names = ("strategy", "world", "data_preset")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str | None) for name in names):
        raise InvalidRequestError(
            f"{path} is no proof", why=f"submitted: {found!r} is not what was submitted", next_step=_GIVE
        )
    return {name: found.get(name) for name in names}


class _Unreadable(Exception):
    """What is wrong with a field, in words."""


def _proof(values: Mapping[str, Any]) -> Proof:
    _check_fields(values, [one.name for one in dataclasses.fields(Proof)], _NESTED, "")
    read = _of_kind(values, "read", list)
    versions = _of_kind(values, "versions", dict)
    fills = _of_kind(values, "fills", dict)
    _check_fields(fills, [one.name for one in dataclasses.fields(FillModel)], {}, "fills.")
    return Proof(
        strategy=_of_kind(values, "strategy", str),
        source=_of_kind(values, "source", str, None),
        module=_of_kind({"module": None, **values}, "module", str, None),
        span=_span(values),
        fills=FillModel(**fills),
        seed=_whole(values, "seed"),
        read=tuple(_read_range(part, f"read[{number}].") for number, part in enumerate(read)),
        known=_known(values),
        outcome=_of_kind(values, "outcome", str),
        versions={name: _of_kind(versions, name, str, at="versions.") for name in versions},
    )


# Fields that stand in JSON as several.
_NESTED = {
    "span": ("format", "start", "end"),
    "known": ("knowledge", *Counts._fields, "known"),
}


def _check_fields(
    values: Mapping[str, Any], fields: list[str], nested: Mapping[str, tuple[str, ...]], at: str
) -> None:
    """Each is there, and no other: a field that is not known would not be compared."""
    wanted = [name for field in fields for name in nested.get(field, (field,))]
    for name in wanted:
        if name not in values and name not in _OPTIONAL:
            raise _Unreadable(f"{at}{name} is not there")
    for name in values:
        if name not in wanted and (at or name not in _OPTIONAL):
            raise _Unreadable(f"{at}{name} is not known")


def _of_kind(values: Mapping[str, Any], name: str, *kinds: Any, at: str = "") -> Any:
    value = values[name]
    if not any(value is None if kind is None else isinstance(value, kind) for kind in kinds):
        raise _Unreadable(f"{at}{name}: {value!r} is not what a proof has there")
    return value


def _whole(values: Mapping[str, Any], name: str, at: str = "") -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Unreadable(f"{at}{name}: {value!r} is no whole number from 0 on")
    return value


def _span(values: Mapping[str, Any], at: str = "") -> Span:
    start, end = (to_ns(_of_kind(values, name, str, at=at), name=f"{at}{name}") for name in ("start", "end"))
    if end < start:
        raise _Unreadable(f"{at}end: {values['end']!r} comes before the start")
    return Span(start, end)


def _known(values: Mapping[str, Any]) -> KnownBars:
    mode = values["knowledge"]
    if mode not in KNOWLEDGE:
        raise _Unreadable(f"knowledge: {mode!r} is none of {', '.join(KNOWLEDGE)}")
    counts = Counts(*(_whole(values, name) for name in Counts._fields))
    return KnownBars(mode, counts, _of_kind(values, "known", str, None))


def _read_range(part: Any, at: str) -> ReadRange:
    if not isinstance(part, dict):
        raise _Unreadable(f"{at[:-1]}: {part!r} is no range that was read")
    _check_fields(part, [one.name for one in dataclasses.fields(ReadRange)], {"span": ("start", "end")}, at)
    return ReadRange(
        _of_kind(part, "series", str, at=at),
        _span(part, at),
        _of_kind(part, "fingerprint", str, at=at),
        _whole(part, "as_of", at),
        _of_kind(part, "schema_id", str, at=at),
        _of_kind(part, "passes", bool, at=at),
    )
