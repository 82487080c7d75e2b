"""What holds for all tests."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no defect of the code: how long one example takes says nothing here. In continuous
# integration the examples are the same for the same code, so that a change is judged by what it changes;
# everybody else searches on with new ones.
settings.register_profile("qmtl", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("qmtl")


TESTS = Path(__file__).parent

# What each mark is put on: folders and files below this one. `make quick` leaves all three out.
MARKS = {
    # Takes seconds: long searches, many files, real time.
    "slow": (
        "benchmarks",
        "test_docs.py",
        "qmtl/foundation/schema/compatibility/avro/test_limits.py",
        "qmtl/foundation/schema/compatibility/avro/test_random_schemas.py",
        "qmtl/foundation/schema/compatibility/json_schema/test_limits.py",
        "qmtl/foundation/schema/compatibility/json_schema/test_memory.py",
        "qmtl/foundation/schema/compatibility/json_schema/test_random_pairs.py",
        "qmtl/foundation/test_schedules.py",
        "qmtl/interfaces/demo/test_two_machines.py",
        "qmtl/interfaces/demo/test_whole_fleet.py",
        "qmtl/runtime/io/bar_files",
        "qmtl/runtime/io/questdb",
        "qmtl/runtime/io/sql/postgres",
        "qmtl/runtime/io/sql/sqlite",
        "qmtl/runtime/io/sql/test_crash.py",
        "qmtl/runtime/io/sql/test_processes.py",
        "qmtl/runtime/io/test_files_of_programs.py",
        "qmtl/runtime/io/test_stores_agree.py",
        "qmtl/runtime/sdk/test_progress.py",
        "qmtl/stories",
        "qmtl/test_contract_page.py",
        "qmtl/test_imports.py",
    ),
    # Starts processes, kills some of them, or mounts a disk.
    "process": (
        "qmtl/foundation/schema/governance/test_audit.py",
        "qmtl/foundation/schema/governance/test_audit_file.py",
        "qmtl/interfaces",
        "qmtl/runtime/io/snapshots/test_folder.py",
        "qmtl/runtime/io/snapshots/test_writing.py",
        "qmtl/runtime/sdk/isolation",
        "qmtl/stories/command_line",
        "operations",
        "scripts",
    ),
    # Talks to a server that the test starts.
    "service": (
        "qmtl/foundation/schema/registry/rest",
        "qmtl/interfaces/demo/test_two_machines.py",
        "qmtl/interfaces/demo/test_whole_fleet.py",
        "qmtl/runtime/io/questdb",
        "qmtl/runtime/io/snapshots/test_s3.py",
        "qmtl/runtime/io/sql/postgres",
        "qmtl/runtime/io/vendors/test_ccxt.py",
        "qmtl/runtime/io/vendors/test_polygon.py",
        "qmtl/runtime/io/vendors/test_questdb.py",
        "qmtl/runtime/sdk/test_questdb_provider.py",
        "qmtl/runtime/testing/test_exchange.py",
        "qmtl/runtime/testing/test_polygon.py",
        "qmtl/services",
    ),
}


@cache
def marks_of(path: Path) -> frozenset[str]:
    """The marks that every test in this file or folder bears."""
    inside = path.relative_to(TESTS)
    return frozenset(
        mark for mark, places in MARKS.items() if any(inside.is_relative_to(place) for place in places)
    )


def refused(expression: str) -> set[str]:
    """The marks that `-m` leaves out whatever else a test bears: those of a plain `not A and not B`."""
    if " or " in expression or "(" in expression:
        return set()
    terms = expression.split(" and ")
    return {mark for mark in MARKS if f"not {mark}" in terms}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is left out: with its libraries that takes longer than many tests."""
    if not collection_path.is_relative_to(TESTS):
        return None
    return bool(marks_of(collection_path) & refused(config.option.markexpr)) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in marks_of(item.path):
            item.add_marker(mark)
