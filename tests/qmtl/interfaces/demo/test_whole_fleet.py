"""The demo of a whole fleet: all that it claims is true, it leaves nothing behind, and its count is right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.timeline import Span
from qmtl.interfaces.demo.whole_fleet.asked import Page, asked_after_commit, asked_twice, page_of
from qmtl.runtime.io.store.values import CommitInfo
from tests.qmtl.etcd import etcd_program
from tests.qmtl.postgres import newest_programs

ROOT = Path(__file__).parents[4]
MINUTE = 60 * 10**9


def test_all_that_it_claims_is_true() -> None:
    needed = {"etcd": etcd_program(), "PostgreSQL": newest_programs()}
    lacking = [name for name, found in needed.items() if found is None]
    if lacking and os.environ.get("QMTL_TEST_REQUIRE", "") == "all":
        pytest.fail(f"there is no {lacking[0]}")
    elif lacking:
        pytest.skip(f"there is no {lacking[0]}")
    done = subprocess.run(
        [sys.executable, "-m", "qmtl.interfaces.demo.whole_fleet", ROOT / "operations/fleet.sh"],
        env={**os.environ, "FLEET_ETCD": str(needed["etcd"])},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "FALSE" not in done.stdout
    claims = [line for line in done.stdout.splitlines() if line.startswith("  true   ")]
    assert len(claims) == 16, done.stdout
    folder = re.search(r"in (\S+), and is gone", done.stdout)
    assert folder is not None
    assert not Path(folder[1]).exists()
    assert [
        one.info for one in psutil.process_iter(["cmdline"]) if folder[1] in str(one.info["cmdline"])
    ] == []


def test_without_etcd_it_says_what_builds_it() -> None:
    words = [sys.executable, "-m", "qmtl.interfaces.demo.whole_fleet", ROOT / "operations/fleet.sh"]
    done = subprocess.run(
        words, env={**os.environ, "FLEET_ETCD": "/none"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no etcd in PATH" in done.stderr
    assert "make services" in done.stderr


def page(at: int, start: int, end: int) -> Page:
    return Page(at, Span(start, end))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(1, 6)), max_size=12))
def test_what_was_asked_twice_and_after_a_commit(drawn: list[tuple[int, int, int]]) -> None:
    pages = [page(at, start, start + length) for at, start, length in drawn[::2]]
    commits = [
        CommitInfo(at, "write", Span(start, start + length), "w", None) for at, start, length in drawn[1::2]
    ]
    counts = [sum(one.span.start <= bar < one.span.end for one in pages) for bar in range(20)]
    twice = [bar for bar in range(20) if counts[bar] > 1]
    again = [
        bar
        for bar in range(20)
        if any(
            commit.as_of < one.at and all(s.start <= bar < s.end for s in (commit.span, one.span))
            for one in pages
            for commit in commits
        )
    ]
    assert [bar for span in asked_twice(pages) for bar in range(span.start, span.end)] == twice
    assert [
        bar for span in asked_after_commit(pages, commits) for bar in range(span.start, span.end)
    ] == again


def test_what_a_request_is_for() -> None:
    sent = {"interval": "1m", "startTime": "60000", "limit": "10"}
    assert page_of(5, sent, MINUTE) == page(5, 2 * MINUTE, 10 * MINUTE)
    assert page_of(5, {**sent, "limit": "2"}, MINUTE) is None
    assert page_of(5, {**sent, "interval": "1d"}, MINUTE) is None
    assert page_of(5, {"interval": "1m", "limit": "10"}, MINUTE) is None
