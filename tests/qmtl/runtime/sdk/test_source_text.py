"""Sources are found by one thread at a time, and something without a source has no hash."""

from __future__ import annotations

import ast
import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

from qmtl.runtime.sdk import source_text
from qmtl.runtime.sdk.source_text import parsed, source_hash


class Here:
    pass


def test_of_a_class_and_of_what_has_none() -> None:
    found = source_hash(Here)
    assert found is not None
    assert found.startswith("blake3:")
    assert source_hash(inspect) != found
    made: dict[str, Any] = {"__name__": "nowhere"}
    exec("class Made: pass", made)
    assert source_hash(made["Made"]) is None
    assert source_hash(int) is None


def test_nothing_is_parsed_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def noted(*of: object) -> str:
        held.append(source_text._one_at_a_time.locked())
        return "class Here: pass"

    monkeypatch.setattr(inspect, "getsource", noted)
    monkeypatch.setattr(ast, "parse", noted)
    source_hash(Here)
    parsed(Path(__file__))
    assert held == [True, True]


def test_many_threads_at_once_all_find_it() -> None:
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: found.extend(source_hash(Here) for _ in range(5))) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [source_hash(Here)] * 40
