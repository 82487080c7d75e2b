"""The corpus of evolutions, and how the tests of this folder ask and confirm."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from qmtl.foundation.schema.compatibility.json_schema import RULES, compare
from qmtl.foundation.schema.compatibility.verdict import Verdict
from qmtl.foundation.schema.documents import Document, SchemaType


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


corpus = _load("evolution_corpus")
random_pairs = _load("random_schemas")


class Judge:
    """Compares two schemas and checks anew, with jsonschema alone, whatever the verdict shows."""

    def accepts(self, schema: Any, instance: Any) -> bool:
        default = jsonschema.Draft202012Validator
        return bool(jsonschema.validators.validator_for(schema, default=default)(schema).is_valid(instance))

    def compare(self, writer: Any, reader: Any) -> Verdict:
        verdict = compare(Document(SchemaType.JSON, writer), Document(SchemaType.JSON, reader))
        for problem in verdict.problems:
            json.dumps([problem.writer, problem.reader])
            if problem.counterexample is not None:
                assert self.accepts(writer, problem.counterexample.value)
                assert not self.accepts(reader, problem.counterexample.value)
            else:
                assert problem.undecided or problem.rule == "json.unit_changed"
        assert {reported.rule for reported in (*verdict.problems, *verdict.notices)} <= RULES.keys()
        nodes = [(problem.path, problem.rule) for problem in verdict.problems]
        assert len(nodes) == len(set(nodes))
        return verdict


@pytest.fixture(scope="session")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="session")
def evolutions() -> list[Any]:
    return list(corpus.EVOLUTIONS)


@pytest.fixture(scope="session")
def random_schemas() -> ModuleType:
    return random_pairs
