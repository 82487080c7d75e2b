"""A pickle is refused by its writer's format before anything else of it is read."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from qmtl.foundation import base_error
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.pickled import pickled
from qmtl.foundation.timeline import Coverage, Span

made: list[object] = []


def make(*parts: object) -> tuple[object, ...]:
    made.append(parts)
    return parts


class Answer:
    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(make, 1, "two")


def test_the_parts_come_back_through_the_function() -> None:
    assert pickle.loads(pickle.dumps(Answer())) == (1, "two")
    coverage = Coverage.of(Span(0, 3), Span(5, 9))
    assert pickle.loads(pickle.dumps(coverage)) == coverage


def test_another_format_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_error, "FORMAT", 99)
    written = pickle.dumps(Answer())
    monkeypatch.undo()
    made.clear()
    with pytest.raises(InvalidRequestError, match="in format 99"):
        pickle.loads(written)
    assert made == []
