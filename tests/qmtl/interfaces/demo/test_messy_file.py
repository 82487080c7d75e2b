"""The last act of the demo: what it claims is true, and its line really runs."""

from __future__ import annotations

import io

from rich.console import Console

from qmtl.interfaces.demo.messy_file import messy_file
from qmtl.interfaces.demo.stage import Stage


def test_a_messy_file_is_read_by_the_line_that_is_shown(tmp_path):
    printed = io.StringIO()
    stage = Stage(Console(file=printed, width=200, highlight=False))
    messy_file(stage, tmp_path)
    assert stage.failed == 0, printed.getvalue()
    assert "--encoding cp1252 --skip-head 1 --skip-foot 1" in printed.getvalue()
    assert "rows         5: 5 added" in printed.getvalue()
