"""What the answers of a coordinator look like, field by field; more fields than these are no mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.times import to_ns


class Value(NamedTuple):
    """A JSON value that is neither an object nor a list. what: it is, for people."""

    what: str
    fits: Callable[[Any], bool]


class Nullable(NamedTuple):
    """May be null. may_lack: may be left out as well."""

    shape: Shape
    may_lack: bool = False


class Exactly(NamedTuple):
    """A list of so many things of one shape."""

    length: int
    shape: Shape


class Cases(NamedTuple):
    """An object whose field `by` says which shape it has."""

    by: str
    shapes: dict[str, Shape]


# An object by its fields, or a list of things of one shape.
Shape: TypeAlias = "Value | Nullable | Exactly | Cases | dict[str, Shape] | list[Shape]"


def mistake(answer: object, shape: Shape, place: str = "the answer") -> str | None:
    """The first difference between an answer and its shape; None if there is none."""
    match shape:
        case Value(what, fits):
            return None if fits(answer) else f"{place} is not {what}"
        case Nullable(inner):
            return None if answer is None else mistake(answer, inner, place)
        case Exactly(length, inner):
            if isinstance(answer, list) and len(answer) != length:
                return f"{place} has {len(answer)} entries where {length} were asked for"
            return mistake(answer, [inner], place)
        case Cases(by, shapes):
            case = answer.get(by) if isinstance(answer, dict) else None
            if not isinstance(case, str) or case not in shapes:
                return f"{place} has no `{by}` that is known"
            return mistake(answer, shapes[case], place)
        case list():
            if not isinstance(answer, list):
                return f"{place} is not a list"
            found = (mistake(one, shape[0], f"{place}[{n}]") for n, one in enumerate(answer))
        case dict():
            if not isinstance(answer, dict):
                return f"{place} is not an object"
            found = (_field(answer, name, inner, place) for name, inner in shape.items())
    return next((one for one in found if one is not None), None)


def _field(answer: dict[str, Any], name: str, shape: Shape, place: str) -> str | None:
    if name in answer:
        return mistake(answer[name], shape, f"`{name}` of {place}")
    if isinstance(shape, Nullable) and shape.may_lack:
        return None
    return f"{place} has no `{name}`"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and to_ns(value) is not None
    except InvalidRequestError:
        return False


def _is_key(value: object) -> bool:
    try:
        return isinstance(value, str) and LeaseKey.parse(value) is not None
    except InvalidRequestError:
        return False


TEXT = Value("a text", lambda value: isinstance(value, str))
COUNT = Value("a count", _is_count)
SECONDS = Value("a number of seconds", lambda value: _is_number(value) and 0 <= value < float("inf"))
TIME = Value("a time", _is_time)
KEY = Value("the key of a lease", _is_key)

_PROGRESS: Shape = Nullable({"done": COUNT, "total": COUNT}, may_lack=True)
_ENDED: Shape = Nullable({"holder": TEXT, "why": TEXT, "at": Nullable(TIME)}, may_lack=True)
SESSION: dict[str, Shape] = {"session": TEXT, "expires_in_s": SECONDS}
STATUS: Shape = {"status": TEXT}
_CLAIMED = Cases(
    "state",
    {
        "granted": {"ended": _ENDED},
        "held": {"holder": TEXT, "progress": _PROGRESS, "retry_after_ms": COUNT, "ended": _ENDED},
        "done": {"as_of": TIME},
    },
)
_VIOLATION: dict[str, Shape] = {"attempts": COUNT, "why": TEXT}
LEASES: Shape = {
    "leases": [
        {
            "lease_key": KEY,
            "state": TEXT,
            "attempts": COUNT,
            "holder": Nullable(TEXT),
            "progress": _PROGRESS,
            "why": Nullable(TEXT),
            "since": TEXT,
            "violation": Nullable(_VIOLATION),
        }
    ],
    "next": Nullable(TEXT),
}
HISTORY: Shape = {
    "steps": [
        {
            "id": TEXT,
            "revision": COUNT,
            "at": TIME,
            "event": TEXT,
            "job": Nullable(TEXT, may_lack=True),
            "lease_key": Nullable(KEY),
            "holder": Nullable(TEXT),
            "attempts": COUNT,
            "why": Nullable(TEXT),
        }
    ],
    "next": Nullable(TEXT),
    "revision": COUNT,
    "now": TIME,
}
_COUNTS = ("shards", "queued", "claimed", "done", "violations")
JOB: dict[str, Shape] = {"job": TEXT, "by": TEXT, **dict.fromkeys(_COUNTS, COUNT), "ended": Nullable(TEXT)}
ONE_JOB: Shape = {**JOB, "violated": [{"lease_key": KEY, **_VIOLATION}]}
JOBS: Shape = {"jobs": [JOB]}
_TAKEN: dict[str, Shape] = {"job": TEXT, "number": COUNT, "lease_key": KEY, "series": TEXT}
TAKE: Shape = {
    "taken": Nullable({**_TAKEN, "start": TIME, "end": TIME, "attempts": COUNT}),
    "retry_after_ms": COUNT,
}
RATE: Shape = {"wait_s": SECONDS, "pause_s": SECONDS, "sharers": COUNT}


def claims(count: int) -> Shape:
    """The answer to a claim of so many shards."""
    return {**SESSION, "answers": Exactly(count, _CLAIMED)}
