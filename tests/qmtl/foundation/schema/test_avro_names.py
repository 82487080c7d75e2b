"""Names of Avro, as the specification has them: what is one, and in which namespace it lies."""

from __future__ import annotations

import pytest

from qmtl.foundation.schema.avro_names import defined_name, full_name, is_name, is_namespace, namespace_of


@pytest.mark.parametrize(
    ("text", "name", "namespace"),
    [
        ("Bar", True, True),
        ("_1", True, True),
        ("a.b", False, True),
        ("", False, True),  # the null namespace
        ("1a", False, False),
        ("a..b", False, False),
        ("a.", False, False),
        ("é", False, False),
        ("a\n", False, False),
        (None, False, False),
    ],
)
def test_names_and_namespaces(text: object, name: bool, namespace: bool) -> None:
    assert (is_name(text), is_namespace(text)) == (name, namespace)


def test_a_name_with_a_dot_is_full() -> None:
    assert full_name("a.Bar", "b") == "a.Bar"
    assert full_name("Bar", "b.c") == "b.c.Bar"
    assert full_name("Bar", "") == "Bar"


def test_the_own_namespace_comes_before_the_one_around() -> None:
    assert defined_name("Bar", None, "around") == "around.Bar"
    assert defined_name("Bar", "own", "around") == "own.Bar"
    assert defined_name("Bar", "", "around") == "Bar"
    assert defined_name("a.Bar", "own", "around") == "a.Bar"


def test_the_namespace_is_what_stands_before_the_last_dot() -> None:
    assert [namespace_of(name) for name in ("a.b.Bar", "a.Bar", "Bar")] == ["a.b", "a", ""]
