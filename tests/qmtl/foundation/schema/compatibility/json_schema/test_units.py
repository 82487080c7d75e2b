"""The annotation `x-unit`: another declared unit is another number, whatever the keywords say."""

from __future__ import annotations

from typing import Any

USD = {"type": "number", "x-unit": "USD"}
EUR = {"type": "number", "x-unit": "EUR"}
NONE = {"type": "number"}


def _bar(price: Any) -> Any:
    return {"type": "object", "properties": {"price": price}}


def test_another_unit_is_a_problem_by_rule(judge: Any) -> None:
    (problem,) = judge.compare(_bar(USD), _bar(EUR)).problems
    assert (problem.path, problem.rule) == ("/properties/price", "json.unit_changed")
    assert (problem.counterexample, problem.undecided) == (None, False)
    assert (
        problem.message
        == 'at /properties/price the reader declares the unit "EUR"; the writer declares "USD"'
    )


def test_adding_or_dropping_a_unit_is_a_notice(judge: Any) -> None:
    for writer, reader, rule in ((USD, NONE, "json.unit_dropped"), (NONE, USD, "json.unit_added")):
        verdict = judge.compare(_bar(writer), _bar(reader))
        assert verdict.is_compatible
        assert [(notice.path, notice.rule) for notice in verdict.notices] == [("/properties/price", rule)]


def test_a_unit_is_found_behind_references_and_beside_null(judge: Any) -> None:
    nullable = {"$defs": {"usd": USD}, "anyOf": [{"$ref": "#/$defs/usd"}, {"type": "null"}]}
    assert judge.compare(USD, nullable).is_compatible
    assert [problem.rule for problem in judge.compare(EUR, nullable).problems] == ["json.unit_changed"]


def test_other_annotations_say_nothing(judge: Any) -> None:
    verdict = judge.compare(_bar(USD), _bar(USD | {"title": "price", "x-other": 1, "format": "decimal"}))
    assert verdict.is_compatible
    assert verdict.notices == ()
