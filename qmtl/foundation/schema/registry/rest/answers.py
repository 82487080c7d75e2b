"""Answers of a registry as our values, also those of a registry that answers less than ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qmtl.foundation.errors import IncompatibleSchemaError, SchemaRegistryError
from qmtl.foundation.schema.compatibility.levels import Comparison, Direction, Level
from qmtl.foundation.schema.compatibility.verdict import Counterexample, Notice, Problem, Verdict
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType
from qmtl.foundation.schema.registry.contract import Mode, Registered, Usage
from qmtl.foundation.schema.registry.rest.connection import Reply

# The rule of a problem of which the registry gave a sentence alone.
MESSAGE_ONLY = "registry.message"

# What Confluent's registry adds to its messages and to the message of a refusal.
_VERSION = re.compile(r"\{oldSchemaVersion: (\d+)\}")
_LEVEL = re.compile(r"compatibility: '([A-Z_]+)'\}")


def schema_body(schema: Schema) -> dict[str, Any]:
    """A schema as it is sent. Servers that know Avro alone take no `schemaType`."""
    body: dict[str, Any] = {"schema": schema.text}
    if schema.type is not SchemaType.AVRO:
        body["schemaType"] = schema.type.value
    if schema.references:
        body["references"] = [reference._asdict() for reference in schema.references]
    return body


def schema_of(value: Mapping[str, Any]) -> Schema:
    """42201 for a language that is not read here."""
    language = value.get("schemaType") or SchemaType.AVRO
    if language not in tuple(SchemaType):
        raise SchemaRegistryError(
            f"the registry holds a schema of the type {language}", code=42201, why="it is not read here"
        )
    return Schema(
        _text(value["schema"]),
        SchemaType(language),
        tuple(
            Reference(_text(one["name"]), _text(one["subject"]), number(one["version"]))
            for one in value.get("references") or ()
        ),
    )


def registered(value: Mapping[str, Any]) -> Registered:
    return Registered(
        _text(value["subject"]), number(value["version"]), number(value["id"]), schema_of(value)
    )


def number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(map(_text, value))


def numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(map(number, value))


def usages(value: Any) -> tuple[Usage, ...]:
    return tuple(Usage(_text(one["subject"]), number(one["version"])) for one in value)


def level(value: Mapping[str, Any]) -> Level:
    # Asked for it has one name, set the other.
    return Level(value["compatibilityLevel"] if "compatibilityLevel" in value else value["compatibility"])


def mode(value: Mapping[str, Any]) -> Mode:
    return Mode(value["mode"])


class Compatibility(NamedTuple):
    """A registry's answer about compatibility: comparisons, or only sentences about a refused schema."""

    comparisons: tuple[Comparison, ...] | None
    messages: tuple[str, ...] = ()


def verdict(value: Mapping[str, Any]) -> Compatibility:
    """All comparisons, as ours answers them; from another registry none, if all is compatible."""
    is_compatible = value["is_compatible"]
    if not isinstance(is_compatible, bool):
        raise TypeError(f"{is_compatible!r} is no verdict")
    if "compared" in value:
        found = _compared(value)
        if is_compatible != all(one.verdict.is_compatible for one in found):
            raise ValueError("the verdict is not that of its comparisons")
        return Compatibility(found)
    if is_compatible:
        return Compatibility(())
    return Compatibility(None, texts(value.get("messages") or []) or ("the registry gives no reason",))


def refusal(reply: Reply) -> SchemaRegistryError:
    """The error of a reply that has an `error_code`."""
    code, message = number(reply.value["error_code"]), _text(reply.value["message"])
    if reply.status == 409:
        found = _compared(reply.value) if "compared" in reply.value else from_sentences([message])
        return IncompatibleSchemaError(message, comparisons=found, code=code)
    hint = {
        401: "give credentials that the registry knows",
        403: "give credentials whose role is large enough",
    }.get(reply.status)
    return SchemaRegistryError(message, code=code, next_step=hint)


def _compared(value: Mapping[str, Any]) -> tuple[Comparison, ...]:
    problems: dict[tuple[int, Direction], list[Problem]] = {}
    notices: dict[tuple[int, Direction], list[Notice]] = {}
    pairs = [_pair(one) for one in value["compared"]]
    for one in value.get("details") or ():
        problems.setdefault(_pair(one), []).append(_problem(one))
    for one in value.get("notices") or ():
        notice = Notice(_text(one["path"]), _text(one["rule"]), _text(one["message"]))
        notices.setdefault(_pair(one), []).append(notice)
    if not {*problems, *notices} <= set(pairs):
        raise ValueError("details of versions that were not compared")
    return tuple(
        Comparison(*pair, Verdict(tuple(problems.get(pair, ())), tuple(notices.get(pair, ()))))
        for pair in pairs
    )


def _pair(value: Mapping[str, Any]) -> tuple[int, Direction]:
    return number(value["version"]), _direction(value["direction"])


def _direction(value: Any) -> Direction:
    if value == "backward":
        return "backward"
    if value == "forward":
        return "forward"
    raise ValueError(f"{value!r} is no direction")


def _problem(value: Mapping[str, Any]) -> Problem:
    # One that is too large for the answer is null there, with its size beside it.
    is_there = "counterexample" in value and "counterexample_bytes" not in value
    found = Counterexample(value["counterexample"]) if is_there else None
    return Problem(
        path=_text(value["path"]),
        rule=_text(value["rule"]),
        message=_text(value["message"]),
        writer=value["writer"],
        reader=value["reader"],
        counterexample=found,
        undecided=value.get("undecided", False) is True,
    )


def from_sentences(
    messages: Sequence[str], *, version: int = 0, level: Level | None = None
) -> tuple[Comparison, ...]:
    """The comparisons of which a registry gave sentences alone.

    version: that of the sentences, if they name one; 0 means that it is unknown. level: that of the subject,
        if the sentences do not name it. Where both directions count, which of them failed is unknown: both
        are given, undecided.
    """
    whole = " ".join(messages)
    if not version and (found := _VERSION.search(whole)):
        version = int(found[1])
    if (named := _LEVEL.search(whole)) and named[1] in Level.__members__:
        level = Level(named[1])
    directions: tuple[Direction, ...] = (level and level.directions) or ("backward", "forward")
    problems = tuple(
        Problem("", MESSAGE_ONLY, message, None, None, undecided=len(directions) > 1) for message in messages
    )
    return tuple(Comparison(version, direction, Verdict(problems)) for direction in directions)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
