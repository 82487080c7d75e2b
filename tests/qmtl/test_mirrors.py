"""Every module of the core has a test beside it, and the folders of tests are those of the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import MARKS, marks_of, refused
from tests.qmtl.shown_elsewhere import SHOWN_BY

TESTS = Path(__file__).parent
PACKAGE = TESTS.parents[1] / "qmtl"

# The rooms whose modules have tests beside them; the folders below them have their own tests.
ROOMS = (
    "foundation",
    "foundation/observability",
    "interfaces/cli",
    "runtime/conformance",
    "runtime/coordination",
    "runtime/ingest",
    "runtime/io",
    "runtime/io/bar_files",
    "runtime/io/bar_files/look",
    "runtime/io/questdb",
    "runtime/io/snapshots",
    "runtime/io/sql",
    "runtime/io/sql/postgres",
    "runtime/io/sql/sqlite",
    "runtime/io/store",
    "runtime/planning",
    "runtime/replay",
    "runtime/sdk",
    "runtime/sdk/isolation",
    "runtime/worlds",
    "services/coordinator",
    "services/coordinator/grpc",
    "services/coordinator/member",
    "services/http",
    "services/registry",
    "services/registry/routes",
    *sorted(
        {str(path.parent.relative_to(PACKAGE)) for path in (PACKAGE / "foundation/schema").rglob("[!_]*.py")}
    ),
)

# Modules that decide nothing, so that a test could only repeat them.
WITHOUT_LOGIC = frozenset(
    {
        "foundation/observability/catalog",  # declarations; test_metrics holds them against a registry
        "foundation/schema/compatibility/json_schema/proof/tables",  # which file answers which keyword
        "foundation/schema/compatibility/json_schema/rules",  # names and their meanings
        "foundation/schema/documents",  # values without methods
        "foundation/schema/registry/contract",  # protocols; every registry inherits RegistrySuite
        "foundation/schema/registry/storage",  # protocols; every storage inherits RegistryStorageSuite
        "interfaces/cli/demo",  # one call
        "runtime/coordination/shard_leases",  # a protocol and its answers; every service inherits LeaseSuite
        "services/coordinator/key_values",  # a protocol and its answers; the model and etcd have it
        "runtime/io/snapshots/place",  # a protocol; every place inherits PlaceSuite
        "runtime/io/store/contract",  # protocols; every store inherits StoreSuite
        "runtime/ingest/settlement",  # two numbers
    }
)


def modules(room: str) -> list[str]:
    return [
        f"{room}/{path.stem}" for path in sorted((PACKAGE / room).glob("*.py")) if path.stem != "__init__"
    ]


SHOWN = [module for modules_of_test in SHOWN_BY.values() for module in modules_of_test]


def mirror_of(module: str) -> Path:
    return (TESTS / module).with_name(f"test_{Path(module).name}.py")


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_has_its_mirror(room: str) -> None:
    assert modules(room), "the room has moved"
    excused = WITHOUT_LOGIC.union(SHOWN)
    lacking = [module for module in modules(room) if module not in excused and not mirror_of(module).exists()]
    assert lacking == []


def test_an_excused_module_is_there_once_and_has_no_mirror() -> None:
    known = {module for room in ROOMS for module in modules(room)}
    excused = [*WITHOUT_LOGIC, *SHOWN]
    assert [module for module in excused if module not in known] == []
    assert sorted(excused) == sorted(set(excused))
    assert [module for module in excused if mirror_of(module).exists()] == []


def test_what_shows_a_module_is_there() -> None:
    assert [test for test in SHOWN_BY if not (TESTS / test).exists()] == []


def test_every_folder_of_tests_is_one_of_the_package() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    strange = {
        str(folder)
        for folder in folders
        if not (PACKAGE / folder).is_dir() and folder.parts[:1] != ("stories",)
    }
    assert strange == set()


def test_every_story_says_in_its_first_line_what_it_tells() -> None:
    first = {
        str(path.relative_to(TESTS)): path.read_text(encoding="utf-8").partition("\n")[0]
        for path in (TESTS / "stories").rglob("test_*.py")
    }
    assert first
    assert {name: line for name, line in first.items() if not re.fullmatch(r'"""\S.*\.(""")?', line)} == {}


def test_what_is_marked_is_there() -> None:
    places = [place for places in MARKS.values() for place in places]
    assert [place for place in places if not (TESTS.parent / place).exists()] == []


@pytest.mark.parametrize(
    ("expression", "left_out"),
    [
        ("", set()),
        ("slow", set()),
        ("not slow", {"slow"}),
        ("not slow and not process and not service", {"slow", "process", "service"}),
        ("process and not slow", {"slow"}),
        ("not slow or process", set()),
        ("not (process and not slow and service)", set()),
    ],
)
def test_only_what_no_test_could_escape_is_left_unread(expression: str, left_out: set[str]) -> None:
    assert refused(expression) == left_out


def test_a_file_bears_the_marks_of_its_folders() -> None:
    assert marks_of(TESTS / "stories" / "test_kernel.py") == {"slow"}
    assert marks_of(TESTS / "test_mirrors.py") == frozenset()
