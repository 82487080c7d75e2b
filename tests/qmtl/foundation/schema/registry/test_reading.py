"""A schema is read with all that it refers to, within bounds, and once for as long as it is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.documents import Document, Reference, Schema, SchemaType
from qmtl.foundation.schema.json_values import MAX_DEPTH
from qmtl.foundation.schema.registry import reading, registry_errors


class Shelf:
    """Schemas by subject and version, and which of them were asked for."""

    def __init__(self, **schemas: Schema) -> None:
        self.schemas = schemas
        self.asked: list[str] = []

    def __call__(self, reference: Reference) -> Schema:
        self.asked.append(reference.subject)
        if reference.subject not in self.schemas:
            raise registry_errors.subject_not_found(reference.subject)
        return self.schemas[reference.subject]


def json_schema(value: Any, *subjects: str) -> Schema:
    references = tuple(Reference(f"{subject}.json", subject, 1) for subject in subjects)
    return Schema(json.dumps(value), SchemaType.JSON, references)


def refused(code: int, says: str, call: Callable[[], object]) -> None:
    with pytest.raises(SchemaRegistryError) as error:
        call()
    assert error.value.code == code
    assert says in str(error.value), str(error.value)


def test_a_document_holds_all_that_it_refers_to() -> None:
    shelf = Shelf(
        price=json_schema({"type": "number"}),
        bar=json_schema({"properties": {"open": {"$ref": "price.json"}}}, "price"),
    )
    read = reading.read(json_schema({"items": {"$ref": "bar.json"}}, "bar", "price"), shelf)
    price = Document(SchemaType.JSON, {"type": "number"})
    bar = Document(SchemaType.JSON, {"properties": {"open": {"$ref": "price.json"}}}, {"price.json": price})
    assert read == Document(
        SchemaType.JSON, {"items": {"$ref": "bar.json"}}, {"bar.json": bar, "price.json": price}
    )
    assert shelf.asked == ["bar", "price"]


def test_a_document_is_shared_as_long_as_it_means_the_same() -> None:
    one = Shelf(price=json_schema({"type": "number"}))
    user = json_schema({"items": {"$ref": "price.json"}}, "price")
    assert reading.read(user, one) is reading.read(user, one)
    other = Shelf(price=json_schema({"type": "string"}))
    assert reading.read(user, other).references["price.json"].value == {"type": "string"}
    assert reading.read(user, one).references["price.json"].value == {"type": "number"}


def test_what_is_registered_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    monkeypatch.setitem(reading._CHECKS, SchemaType.AVRO, lambda value, references: looked.append(value))
    text = '{"type": "enum", "name": "OnlyHere", "symbols": ["A"]}'
    reading.read_registered(Schema(text), Shelf())
    assert looked == []
    for _ in range(3):
        reading.read(Schema(text), Shelf())
    assert len(looked) == 1


def test_references_that_cannot_be_followed() -> None:
    user = json_schema({"$ref": "a.json"}, "a")
    refused(42201, "version 1 of 'a', which is not registered", lambda: reading.read(user, Shelf()))
    refused(
        42201,
        "version 1 of 'b', which is not registered",
        lambda: reading.read(user, Shelf(a=json_schema(True, "b"))),
    )
    refused(42201, "'a', which is AVRO", lambda: reading.read(user, Shelf(a=Schema('"int"'))))
    twice = Schema("true", SchemaType.JSON, (Reference("x", "a", 1), Reference("x", "b", 1)))
    both = Shelf(a=json_schema(True), b=json_schema(True))
    refused(42201, "two references have the name 'x'", lambda: reading.read(twice, both))


def test_another_failure_of_finding_stays_what_it_is() -> None:
    def broken(reference: Reference) -> Schema:
        raise SchemaRegistryError("the disk is gone", code=50001)

    refused(50001, "the disk is gone", lambda: reading.read(json_schema(True, "a"), broken))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_circle_of_references(length: int) -> None:
    subjects = [f"s{number}" for number in range(length)]
    following = [*subjects[1:], subjects[0]]
    shelf = Shelf(**{one: json_schema(True, other) for one, other in zip(subjects, following, strict=True)})
    refused(
        42201, "in a circle through version 1 of 's0'", lambda: reading.read(json_schema(True, "s0"), shelf)
    )


def test_a_chain_of_references_is_bounded_and_many_ways_are_one() -> None:
    # Each schema refers to the one before in two ways: 2**32 ways lead to the last.
    links = {
        f"s{number}": Schema(
            "true",
            SchemaType.JSON,
            (Reference("a", f"s{number - 1}", 1), Reference("b", f"s{number - 1}", 1)) if number else (),
        )
        for number in range(reading.MAX_CHAIN + 1)
    }
    shelf = Shelf(**links)
    longest = reading.MAX_CHAIN - 1
    assert reading.read(json_schema(True, f"s{longest}"), shelf)
    assert len(shelf.asked) == reading.MAX_CHAIN
    refused(42201, "in a row", lambda: reading.read(json_schema(True, f"s{longest + 1}"), shelf))


def test_size_is_bounded_in_bytes() -> None:
    fits = json.dumps({"title": "x" * (reading.MAX_BYTES - len('{"title": ""}'))})
    assert reading.read(Schema(fits, SchemaType.JSON), Shelf())
    for text in (fits + " ", json.dumps({"title": "é" * (reading.MAX_BYTES // 2)}, ensure_ascii=False)):
        refused(42209, f"at most {reading.MAX_BYTES} bytes", lambda text=text: reading.read(  # type: ignore[misc]  # bound early
            Schema(text, SchemaType.JSON), Shelf()
        ))  # fmt: skip


@pytest.mark.parametrize("kind", list(SchemaType))
@pytest.mark.parametrize("opening", ["[", '{"type":', '{"not":', '{"a":[', '{"type":"array","items":'])
def test_any_depth_is_read_or_refused(kind: SchemaType, opening: str) -> None:
    closing = "".join({"{": "}", "[": "]"}[each] for each in reversed(opening) if each in "{[")
    for depth in (MAX_DEPTH // 2, MAX_DEPTH, MAX_DEPTH + 1, 10_000):
        text = opening * depth + '"int"' + closing * depth
        try:
            reading.read(Schema(text, kind), Shelf())
        except SchemaRegistryError as error:
            assert error.code == 42201  # noqa: PT017  # whether it is refused depends on the case


@pytest.mark.parametrize(
    ("kind", "opening", "closing", "inner"),
    [
        (SchemaType.AVRO, '{"type":"array","items":', "}", '"int"'),
        (SchemaType.JSON, '{"properties":{"a":', "}}", "true"),
        (SchemaType.JSON, '{"allOf":[', "]}", "true"),
        (SchemaType.JSON, '{"not":', "}", "true"),
        (SchemaType.JSON, '{"$schema":"http://json-schema.org/draft-07/schema","not":', "}", "true"),
    ],
)
def test_the_deepest_schemas_can_be_judged(kind: SchemaType, opening: str, closing: str, inner: str) -> None:
    depth = MAX_DEPTH // opening.replace("$", "").count("{") if "[" not in opening else MAX_DEPTH // 2
    assert reading.read(Schema(opening * depth + inner + closing * depth, kind), Shelf())
