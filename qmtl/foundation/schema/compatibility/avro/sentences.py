"""The sentence about a finding: it names the position, both sides and the rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from qmtl.foundation.schema.compatibility.avro.positions import Position
from qmtl.foundation.schema.compatibility.avro.rendering import piece_of, words_for
from qmtl.foundation.schema.compatibility.avro.types import Field

_READABLE_BUT = "is written as {writer} and read as {reader}"
_SENTENCES = {
    "avro.type_mismatch": "{writer} is written, and {reader} cannot read it",
    "avro.name_mismatch": "{writer} is written, and {reader} has another name and no alias for it",
    "avro.fixed_size_mismatch": "{writer} is written, and {reader} expects another size",
    "avro.default_missing": "{reader} expects {name!r} and has no default; {writer} has no such field",
    "avro.symbol_missing": "{writer} may write {name}, which {reader} does not know and has no default for",
    "avro.branch_missing": "{writer} is written, and no branch of the reader's {reader} matches it",
    "avro.branch_mismatch": "a branch of the writer's union is {writer}, and {reader} does not match it",
    "avro.decimal_scale_changed": f"a decimal {_READABLE_BUT}, so every number changes",
    "avro.time_type_changed": f"a time {_READABLE_BUT}, so every time changes",
    "avro.unit_changed": f"a quantity {_READABLE_BUT}, so every quantity changes",
    "avro.bytes_and_string": "{writer} is read as {reader}, which only valid UTF-8 survives",
    "avro.logical_type_added": f"a value {_READABLE_BUT}: only the reader gives it this meaning",
    "avro.logical_type_dropped": f"a value {_READABLE_BUT}: only the writer gave it this meaning",
    "avro.logical_type_changed": f"a value {_READABLE_BUT}: its logical type is another",
    "avro.logical_type_unknown": f"a value {_READABLE_BUT}: a logical type that is not known is ignored",
    "avro.decimal_precision_changed": f"a decimal {_READABLE_BUT}, of the same scale",
    "avro.unit_declared": f"a quantity {_READABLE_BUT}: only one side declares its unit",
}


_MOST_NAMES = 5


class Described(NamedTuple):
    """A problem but for its instance."""

    path: str
    rule: str
    message: str
    writer: Any
    reader: Any


def describe(
    rule: str, position: Position, unfed: Field | None = None, symbols: Sequence[str] = ()
) -> Described:
    """`unfed` and `symbols` as in `Unreadable`."""
    path = position.path
    writer, reader = piece_of(position.writer), piece_of(position.reader)
    name = _listed(symbols)
    if unfed is not None:
        name = unfed.name
        path = f"{path.rstrip('/')}/{name}"
        writer, reader = None, {"name": name, "type": piece_of(unfed.type)}
    sides = {"writer": words_for(position.writer), "reader": words_for(position.reader)}
    sentence = _SENTENCES[rule].format(**sides, name=name)
    return Described(path, rule, f"{path}: {sentence} ({rule})", writer, reader)


def _listed(names: Sequence[str]) -> str:
    """A sentence stays one, however many symbols an enum has."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
