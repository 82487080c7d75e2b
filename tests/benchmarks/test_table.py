"""The table says what was measured, what was not installed, and what was skipped for want of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.figures import ARCTIC, DUCKDB, Figure
from benchmarks.table import for_markdown, row_of, update_document

FIGURE = Figure(
    "fetch", 2.0, "ms", goal=4.0, floor=0.5, floor_is="touch it", peers={DUCKDB: 3.0, ARCTIC: None}
)


def test_a_peer_that_is_not_installed_is_named_and_one_that_did_nothing_is_left_out() -> None:
    row = row_of(FIGURE)
    assert (row.duckdb, row.polars, row.arctic) == ("3.00", "", "not installed")
    assert (row.measured, row.goal, row.kept, row.ratio) == ("2.00 ms", "<= 4.00", "yes", "4.00")


def test_a_case_that_was_skipped_stands_in_the_table_with_its_reason() -> None:
    text = for_markdown({"Fetch it": [FIGURE]}, {"Judge real bars": "no data in X; set Y"}, {"cores": "2"})
    assert "| fetch | 2.00 ms | <= 4.00 | yes | 0.500 | 4.00 | 3.00 | not installed |" in text
    assert text.endswith("### Judge real bars\n\nSkipped: no data in X; set Y.")


def test_only_what_lies_between_the_named_markers_is_renewed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- a: begin -->1<!-- a: end --><!-- b: begin -->2<!-- b: end -->", encoding="utf-8")
    update_document(page, "3", of="b")
    assert page.read_text(encoding="utf-8") == (
        "<!-- a: begin -->1<!-- a: end --><!-- b: begin -->\n\n3\n\n<!-- b: end -->"
    )
    with pytest.raises(ValueError, match="c: begin"):
        update_document(page, "3", of="c")
