"""Random pairs of schemas: whatever the engine says is checked by instances that it did not choose."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import hypothesis_jsonschema._from_schema as generator
import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, Unsatisfiable
from hypothesis.internal.conjecture import utils
from hypothesis_jsonschema import from_schema

from qmtl.foundation.schema.compatibility.json_schema import node
from qmtl.foundation.schema.compatibility.json_schema.instances import examples


class _Many:
    """What hypothesis-jsonschema 0.23 asks for, in terms of a newer Hypothesis."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._elements = utils.many(*arguments, **settings)
        self._steps = iter(self._elements.__enter__())
        self.reject = self._elements.reject

    def more(self) -> bool:
        for _ in self._steps:
            return True
        self._elements.__exit__(None)
        return False


@pytest.fixture
def _objects_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(utils.many, "more"):
        monkeypatch.setattr(generator, "cu", SimpleNamespace(many=_Many))


def _checked(judge: Any, writer: Any, reader: Any, instance: Any) -> bool:
    try:
        if not judge.accepts(writer, instance):
            return False
    except RecursionError:
        # A schema that asks itself about the same instance: nothing can be written with it.
        return False
    assert judge.accepts(reader, instance), f"compatible, but {instance!r} is refused"
    return True


def test_compatible_pairs_agree_on_small_instances(judge: Any, random_schemas: Any) -> None:
    checked = 0

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(pair=random_schemas.pairs(), instances=st.lists(random_schemas.instances, max_size=40))
    def check(pair: tuple[Any, Any], instances: list[Any]) -> None:
        nonlocal checked
        writer, reader = pair
        if judge.compare(writer, reader).is_compatible:
            for instance in [*random_schemas.SCALARS, *instances]:
                checked += _checked(judge, writer, reader, instance)

    check()
    assert checked > 100


@pytest.mark.usefixtures("_objects_can_be_made")
def test_compatible_pairs_agree_on_instances_made_for_the_writer(judge: Any, random_schemas: Any) -> None:
    checked = 0

    # The generator of instances does not always draw the same for the same choices, which Hypothesis takes
    # for a defect when it looks for a smaller failure; so this test has the same examples everywhere.
    @settings(max_examples=60, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(pair=random_schemas.pairs(), data=st.data())
    def check(pair: tuple[Any, Any], data: st.DataObject) -> None:
        nonlocal checked
        writer, reader = pair
        assume(judge.compare(writer, reader).is_compatible)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made = from_schema(_in_draft_07(writer))
                assume(not made.is_empty)
                instances = [data.draw(made) for _ in range(3)]
            except (InvalidArgument, Unsatisfiable, jsonschema.SchemaError):
                # The generator of instances does not know this combination of keywords.
                assume(False)
        for instance in instances:
            checked += _checked(judge, writer, reader, instance)

    check()
    assert checked > 20


def _in_draft_07(schema: Any) -> Any:
    """For the generator, which does not read the newer dialect and ignores its keywords."""
    return (
        schema | {"$schema": "http://json-schema.org/draft-07/schema#"}
        if isinstance(schema, dict)
        else schema
    )


def test_compatible_pairs_that_refer_to_themselves_agree(judge: Any, random_schemas: Any) -> None:
    checked = 0

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(pair=random_schemas.recursive_pairs(), instances=st.lists(random_schemas.instances, max_size=40))
    def check(pair: tuple[Any, Any], instances: list[Any]) -> None:
        nonlocal checked
        writer, reader = pair
        if judge.compare(writer, reader).is_compatible:
            for instance in [*random_schemas.SCALARS, *instances]:
                checked += _checked(judge, writer, reader, instance)

    check()
    assert checked > 100


def test_each_schema_reads_itself_and_what_is_allowed_beside_it(judge: Any, random_schemas: Any) -> None:
    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(one=random_schemas.schemas, other=random_schemas.schemas)
    def check(one: Any, other: Any) -> None:
        assert judge.compare(one, one).is_compatible
        assert judge.compare(one, {"anyOf": [other, one]}).is_compatible
        assert judge.compare({"allOf": [other, one]}, one).is_compatible

    check()


def test_what_earlier_comparisons_left_behind_changes_no_verdict(judge: Any, random_schemas: Any) -> None:
    shown = 0

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(pair=random_schemas.pairs())
    def check(pair: tuple[Any, Any]) -> None:
        nonlocal shown
        writer, reader = ({"properties": {"a": one}, "required": ["a"]} for one in pair)
        examples._known_examples.clear()
        node._accepting.clear()
        at_first = judge.compare(writer, reader)
        assert judge.compare(writer, reader) == at_first
        shown += len(examples._known_examples)

    check()
    assert shown > 10  # how many differ is drawn: often near fifty
