"""The list of rules: stable ids, each with a meaning, and those that can be found with a sentence."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from qmtl.foundation.errors import MissingDependencyError
from qmtl.foundation.schema.compatibility.avro import RULES, compare
from qmtl.foundation.schema.compatibility.avro.rules import MEANING, NOTICES, RESOLUTION, UNDECIDED
from qmtl.foundation.schema.compatibility.avro.sentences import _SENTENCES


def test_each_rule_is_declared_once() -> None:
    assert len(RULES) == len(RESOLUTION) + len(MEANING) + len(UNDECIDED) + len(NOTICES)
    assert all(re.fullmatch(r"avro(\.[a-z]+(_[a-z]+)*)", rule) for rule in RULES)
    assert all(meaning.endswith(".") for meaning in RULES.values())


def test_each_rule_has_a_sentence() -> None:
    assert _SENTENCES.keys() == (RESOLUTION | MEANING | NOTICES).keys()


def test_an_enum_of_many_symbols_makes_one_sentence(document: Any) -> None:
    def enum(*symbols: str) -> Any:
        return document({"type": "enum", "name": "E", "symbols": list(symbols)})

    (problem,) = compare(enum(*(f"S{i}" for i in range(1000))), enum("S0")).problems
    assert problem.message == (
        "/E: enum E may write S1, S2, S3, S4, S5 and 994 more, which enum E does not know and has no default "
        "for (avro.symbol_missing)"
    )


def test_without_fastavro_nothing_is_claimed(document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that nobody confirmed is not shown; what needs none is still judged."""
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(MissingDependencyError, match="fastavro") as raised:
        compare(document("int"), document("string"))
    assert raised.value.extra == "schemas"
    assert compare(document("int"), document("long")).is_compatible
