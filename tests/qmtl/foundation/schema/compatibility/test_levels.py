"""A level names versions and directions, and the language of both schemas decides who judges."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from qmtl.foundation.schema.compatibility import levels
from qmtl.foundation.schema.compatibility.levels import Direction, Earlier, Level, compare_versions, judge
from qmtl.foundation.schema.compatibility.verdict import Problem, Verdict
from qmtl.foundation.schema.documents import Document, SchemaType


def avro(value: object) -> Document:
    return Document(SchemaType.AVRO, value)


def fields(*names: str) -> Document:
    """A record of ints, none with a default."""
    return avro({"type": "record", "name": "R", "fields": [{"name": name, "type": "int"} for name in names]})


EARLIER = [Earlier(1, fields("a")), Earlier(3, fields("a", "b")), Earlier(4, fields("b"))]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (Level.NONE, []),
        (Level.BACKWARD, [(4, "backward")]),
        (Level.FORWARD, [(4, "forward")]),
        (Level.FULL, [(4, "backward"), (4, "forward")]),
        (Level.BACKWARD_TRANSITIVE, [(4, "backward"), (3, "backward"), (1, "backward")]),
        (Level.FORWARD_TRANSITIVE, [(4, "forward"), (3, "forward"), (1, "forward")]),
        (
            Level.FULL_TRANSITIVE,
            [(number, direction) for number in (4, 3, 1) for direction in ("backward", "forward")],
        ),
    ],
)
def test_what_a_level_compares(level: Level, expected: list[tuple[int, Direction]]) -> None:
    reported = compare_versions(fields("b"), EARLIER, level)
    assert [(one.version, one.direction) for one in reported] == expected
    # A record reads what has at least its fields.
    reads = {(4, "backward"), (3, "backward"), (4, "forward")}
    assert {(one.version, one.direction) for one in reported if one.verdict.is_compatible} == reads & set(
        expected
    )


def test_nothing_earlier_is_no_comparison() -> None:
    for level in Level:
        assert compare_versions(fields("a"), [], level) == ()


def test_another_language_is_incompatible_and_shows_no_instance() -> None:
    text = Document(SchemaType.JSON, {"type": "object"})
    for writer, reader in ((avro("int"), text), (text, avro("int"))):
        (problem,) = judge(writer, reader).problems
        assert (problem.rule, problem.counterexample, problem.undecided) == (
            "schema.type_changed",
            None,
            False,
        )
        assert (problem.writer, problem.reader) == (writer.type.value, reader.type.value)
        assert writer.type in problem.message
        assert reader.type in problem.message


@pytest.mark.parametrize("kind", list(SchemaType))
def test_the_engine_of_the_language_judges(kind: SchemaType, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("/a", "test.rule", "a message", 1, 2)
    asked: list[tuple[Document, Document]] = []

    def compare(writer: Document, reader: Document) -> Verdict:
        asked.append((writer, reader))
        return Verdict((problem,))

    engine = ModuleType(levels._ENGINES[kind])
    engine.compare = compare  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, levels._ENGINES[kind], engine)
    old, new = Document(kind, json.loads("[1]")), Document(kind, json.loads("[2]"))
    reported = compare_versions(new, [Earlier(1, old)], Level.FULL)
    assert asked == [(old, new), (new, old)]
    assert {one.verdict for one in reported} == {Verdict((problem,))}
