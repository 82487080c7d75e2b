"""Judge a schema of 200 fields against 50 versions, transitively."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

from benchmarks import registries
from benchmarks.figures import Comparison, Figure
from benchmarks.sizes import Sizes
from benchmarks.stopwatch import calls_of, take_turns
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.registry.client import SchemaRegistryClient


def run(sizes: Sizes, folder: Path) -> list[Figure]:
    """BACKWARD_TRANSITIVE. No candidate was seen before, and each incompatible one breaks another field."""
    return [
        *_figures(sizes, "Avro", registries.avro, _narrowed_avro, _avro_check(registries.avro(sizes.fields))),
        *_figures(
            sizes,
            "JSON Schema",
            registries.json_schema,
            _narrowed_json,
            _json_check(registries.json_schema(sizes.fields)),
        ),
    ]


def _figures(
    sizes: Sizes,
    language: str,
    make: Callable[..., Schema],
    narrowed: Callable[[Schema, int], Schema],
    floor: Callable[[int], object],
) -> list[Figure]:
    registry = SchemaRegistryClient()
    for number in range(sizes.versions):
        registry.register("bars", make(sizes.fields, more=number))
    rounds = sizes.rounds
    # What differs says nothing about instances, and keeps what is remembered of one from helping the next.
    candidates = [_renamed(make(sizes.fields, more=sizes.versions), n) for n in range(calls_of(rounds))]
    # Seven fields on, so that each is of another kind, and none comes again.
    broken = [narrowed(candidate, 7 * n % sizes.fields) for n, candidate in enumerate(candidates)]

    def judge(candidate: Schema, *, compatible: bool) -> None:
        found = registry.check("bars", candidate)
        if len(found) != sizes.versions:
            raise AssertionError(f"{len(found)} comparisons were made")
        if {one.verdict.is_compatible for one in found} != {compatible}:
            raise AssertionError("the verdict is wrong")
        if not all(problem.counterexample for one in found for problem in one.verdict.problems):
            raise AssertionError("a problem is not shown by an instance")

    def backward(number: int) -> None:
        judge(candidates[number], compatible=True)

    def refused(number: int) -> None:
        judge(broken[number], compatible=False)

    registry.set_level("BACKWARD_TRANSITIVE")
    times = take_turns(rounds, {"floor": floor, "backward": backward, "refused": refused})
    beside = Comparison("ms", times["floor"], _FLOORS[language])
    return [
        beside.figure(f"{language}, compatible", times["backward"], goal=100.0),
        beside.figure(f"{language}, incompatible, with counterexamples", times["refused"], goal=100.0),
    ]


_FLOORS = {
    "Avro": "fastavro writes one instance with one version and reads it with another",
    "JSON Schema": "jsonschema checks one instance once",
}


def _renamed(schema: Schema, number: int) -> Schema:
    """The same with another `doc` or `title`, which mean nothing."""
    value = json.loads(schema.text)
    value["doc" if schema.type is SchemaType.AVRO else "title"] = f"candidate {number}"
    return Schema(json.dumps(value), schema.type)


def _narrowed_avro(schema: Schema, field: int) -> Schema:
    """A field is of a type that is there once, and that reads nothing else."""
    value = json.loads(schema.text)
    value["fields"][field]["type"] = {"type": "enum", "name": f"Only_{field}", "symbols": ["A"]}
    return Schema(json.dumps(value), schema.type)


def _narrowed_json(schema: Schema, field: int) -> Schema:
    value = json.loads(schema.text)
    value["properties"][f"field_{field}"] = {"const": f"only {field}"}
    return Schema(json.dumps(value), schema.type)


def _avro_check(schema: Schema) -> Callable[[int], object]:
    import fastavro

    parsed = fastavro.parse_schema(json.loads(schema.text))
    values = (1.5, 7, "text", None, [1, 2])
    record = {field["name"]: values[n % 5] for n, field in enumerate(json.loads(schema.text)["fields"])}

    def check(_: int) -> object:
        written = io.BytesIO()
        fastavro.schemaless_writer(written, parsed, record)
        written.seek(0)
        return fastavro.schemaless_reader(written, parsed, parsed)

    return check


def _json_check(schema: Schema) -> Callable[[int], object]:
    from jsonschema import Draft202012Validator

    value = json.loads(schema.text)
    validator = Draft202012Validator(value)
    values = (1.5, 7, "text", "buy", [1, 2])
    instance = {name: values[n % 5] for n, name in enumerate(value["properties"])}

    def check(_: int) -> object:
        if not validator.is_valid(instance):
            raise AssertionError("the instance does not fit")
        return None

    return check
