"""A fetch of 1,000 bars costs the same in a store of ten series as in one of ten thousand, or nearly.

What is judged is counted, so that a busy machine changes nothing. `make soak` climbs to full sizes, and then
needs some 12 GB in the folder for temporary files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scene
from benchmarks.growth.climbing import climb
from benchmarks.growth.counting import counting
from benchmarks.growth.ladders import LADDERS
from benchmarks.growth.measuring import COMMIT, COVERAGE, FETCH, FIRST, NEW, OPEN, Cost, Costs
from benchmarks.growth.report import HEADINGS
from benchmarks.growth.rule import grown_too_fast
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore

ROOT = Path(__file__).resolve().parents[2]
SIZES = os.environ.get("QMTL_TEST_GROWTH", "tiny")
# Of what one process does, that which does not look through a series for the first time.
STEADY = (OPEN, FETCH, COVERAGE, COMMIT)
# What happens once may take so many steps for each of what there is more of. The first look at a series
# counts its parts, and rows lie in chunks of 8,192; its first commit looks at none of the other series.
ONCE = {"series": (NEW, 0), "rows": (FIRST, 5 / 8_192), "records": (FIRST, 5)}


@pytest.mark.parametrize("name", LADDERS)
def test_soak_of_growth_nothing_grows_faster_than_the_logarithm(name: str, tmp_path: Path) -> None:
    ladder = LADDERS[name]
    sizes = {"tiny": ladder.tiny, "full": ladder.full}[SIZES]
    rungs = {rung.size: rung.costs for rung in climb(ladder, sizes, tmp_path, rounds=10)}
    assert list(rungs) == list(sizes)
    assert [sentence for work in STEADY for sentence in grown_too_fast(rungs, work)] == []
    if name in ONCE:
        work, each = ONCE[name]
        more = rungs[sizes[-1]].of[work].steps - rungs[sizes[0]].of[work].steps
        assert more <= each * (sizes[-1] - sizes[0])


def _costs(*, steps: int = 100, pages: int = 10, calls: int = 1_000) -> Costs:
    return Costs({FETCH: Cost(0.001, steps, pages, calls)}, 0)


def test_what_grows_with_the_logarithm_is_let_pass_and_what_grows_with_the_store_is_named() -> None:
    first = _costs(steps=400)
    assert grown_too_fast({10: first, 10_000: _costs(steps=700, pages=25, calls=1_750)}) == []
    assert len(grown_too_fast({10: first, 10_000: _costs(steps=701)})) == 1
    (sentence,) = grown_too_fast({10: _costs(), 1_000: _costs(), 10_000: _costs(steps=10_100)})
    assert "steps grew from 100 to 10,100" in sentence
    assert "from 10 to 10,000" in sentence
    assert len(grown_too_fast({10: _costs(), 100: _costs(pages=19, calls=1_251)})) == 2
    assert grown_too_fast({10: _costs(steps=1), 100: _costs(steps=51)}) == []
    assert len(grown_too_fast({10: _costs(steps=1), 100: _costs(steps=52)})) == 1


def test_a_statement_that_looks_at_every_row_counts_every_row(tmp_path: Path) -> None:
    scene.fill_store(tmp_path, scene.year_of_bars(20_000))
    with counting() as counter, EmbeddedStore(tmp_path) as store, store.reading_all() as connection:

        def numbers(last: int) -> None:
            query = (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
            )
            assert len(connection.execute(query, (last,)).fetchall()) == last

        few, many = counter.count(lambda: numbers(100)), counter.count(lambda: numbers(10_000))
        assert many.steps > 50 * few.steps
        assert many.calls < few.calls + 100  # garbage is collected now and then
        span = Span(scene.YEAR_START, scene.YEAR_START + 20_000 * MINUTE)
        store.read(scene.SERIES, Span(span.start, span.start + MINUTE))  # what every read asks is known now
        short = counter.count(lambda: store.read(scene.SERIES, Span(span.start, span.start + 1_000 * MINUTE)))
        whole = counter.count(lambda: store.read(scene.SERIES, span))
        again = counter.count(lambda: store.read(scene.SERIES, span))
    assert whole.pages > short.pages > 0
    assert again == whole._replace(calls=again.calls)


def test_the_tables_of_a_run_stand_in_the_document(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- growth: begin -->\n<!-- growth: end -->\nafter\n", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.growth", "records", "--quick", "--markdown", document]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "### Coverage records of one series\n" in text
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*$", text, re.M)
    ]
    assert rows[0] == ["coverage records", *HEADINGS]
    assert [row[0] for row in rows[2:]] == [f"{size:,}" for size in LADDERS["records"].tiny]
    assert all(float(row[3].removesuffix(" ms")) > 0 for row in rows[2:])


def test_an_unknown_ladder_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "benchmarks.growth", "no_such_ladder"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "no_such_ladder" in ended.stderr
