"""Schemas that use types of other documents, by their full names; those may refer to others again."""

from __future__ import annotations

from typing import Any

from qmtl.foundation.schema.compatibility.avro import compare


def record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": type_} for key, type_ in fields]}


BOOK = record("market.Book", ("bid", "market.Level"), ("asks", {"type": "array", "items": "Level"}))


def test_a_change_in_a_document_that_is_referred_to(library: Any, document: Any) -> None:
    """It is told where it is met first."""
    old, new = (
        {"market.Level": record("market.Level", ("size", "long"))},
        {"market.Level": record("market.Level", ("size", "string"))},
    )
    (problem,) = compare(document(BOOK, old), document(BOOK, new)).problems
    assert (problem.path, problem.rule) == ("/Book/bid/size", "avro.type_mismatch")
    assert problem.counterexample is not None
    assert problem.counterexample.value == {"bid": {"size": 0}, "asks": []}
    assert library.says(BOOK, BOOK, problem.counterexample.value, old, new) == "refused"


def test_what_moved_into_a_document_of_its_own(document: Any) -> None:
    level = record("market.Level", ("size", "long"))
    inline = record("market.Book", ("bid", level), ("asks", {"type": "array", "items": "market.Level"}))
    outside = document(BOOK, {"market.Level": level})
    assert compare(document(inline), outside).is_compatible
    assert compare(outside, document(inline)).is_compatible


def test_documents_that_refer_to_the_same_one(document: Any) -> None:
    """A diamond: each document on the way brings the type along, and it is one type."""
    unit = record("m.Unit", ("code", "string"))
    left, right = record("m.Left", ("u", "m.Unit")), record("m.Right", ("u", "m.Unit"))
    top = record("m.Top", ("l", "m.Left"), ("r", "m.Right"))

    def whole(bottom: Any) -> Any:
        refer = {"m.Unit": bottom}
        sides = {"m.Left": document(left, refer), "m.Right": document(right, refer)}
        made = document(top)
        return type(made)(made.type, made.value, sides)

    assert compare(whole(unit), whole(unit)).is_compatible
    (problem,) = compare(whole(unit), whole(record("m.Unit", ("code", "int")))).problems
    assert problem.path == "/Top/l/u/code"


def test_a_name_without_a_namespace_from_within_one(document: Any) -> None:
    """fastavro does not know it there; the specification's rules decide."""
    book = record("market.Book", ("first", "Level"), ("second", "Level"))
    old, new = {"Level": record("Level", ("size", "long"))}, {"Level": record("Level", ("size", "string"))}
    assert compare(document(book, old), document(book, old)).is_compatible
    (problem,) = compare(document(book, old), document(book, new)).problems
    assert (problem.path, problem.undecided) == ("/Book/first/size", False)
    assert problem.counterexample is not None
    assert problem.counterexample.value == {"first": {"size": 0}, "second": {"size": 0}}
