"""What tests of stores share."""

from __future__ import annotations

import pytest

from qmtl.runtime.io.sql import chunk_parts, plans, rewrite_plan, transaction


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With chunks of eight rows a few bars meet every way in which chunks are cut, joined and folded."""
    monkeypatch.setattr(rewrite_plan, "FULL", 8)
    monkeypatch.setattr(rewrite_plan, "SMALL", 4)
    monkeypatch.setattr(chunk_parts, "PART_ROWS", 3)
    monkeypatch.setattr(plans, "FEW", 4)
    monkeypatch.setattr(transaction, "MANY_HOT", 10)
    monkeypatch.setattr(transaction, "_COUNT_EVERY", 2)
