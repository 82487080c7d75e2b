"""The act of the demo about worlds: what it claims is true, and its commands really run."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from qmtl.interfaces.demo.stage import Stage
from qmtl.interfaces.demo.world import world


def test_a_world_is_planned_applied_submitted_to_and_its_proof_verified(tmp_path: Path) -> None:
    printed = io.StringIO()
    stage = Stage(Console(file=printed, width=200, highlight=False))
    world(stage, tmp_path)
    text = printed.getvalue()
    assert stage.failed == 0, text
    assert text.count("  true   ") == 7
    assert "bars         1,440, from " in text
    assert "720  " in text
    assert "verified     proof.json: the same bars, the same fills, the same equity" in text
    assert "<svg" in (tmp_path / "world" / "report.html").read_text("utf-8")
