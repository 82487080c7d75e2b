"""What the engine says of one pair of schemas: the one that wrote, and the one that reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Counterexample(NamedTuple):
    """An instance that the writer's schema accepts and the reader's rejects, confirmed by a library.

    `value` is a JSON value; for Avro in the JSON encoding of the specification, branches of unions named.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One place where the reader cannot read what the writer may write.

    path: a JSON Pointer into the instance's shape for JSON Schema (`/properties/price`), for Avro the names
        of the fields from the root (`/Bar/price`).
    rule: a stable id, such as `json.type_narrowed` or `avro.default_missing`.
    message: a sentence that names the place, the rule and both sides.
    writer, reader: the two pieces of schema that do not fit, as JSON values; None where a side has none.
    counterexample: None where the rule is ours (units, logical types) or where nothing could be decided.
    undecided: the engine could not tell; `message` says why. It counts as incompatible.
    """

    path: str
    rule: str
    message: str
    writer: Any
    reader: Any
    counterexample: Counterexample | None = None
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Compatible, and worth a warning: `rule` and `message` as those of a problem."""

    path: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All problems of one pair, at most one per path and rule, and all notices."""

    problems: tuple[Problem, ...] = ()
    notices: tuple[Notice, ...] = ()

    @property
    def is_compatible(self) -> bool:
        return not self.problems
