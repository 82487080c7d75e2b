"""Every module of tests that opens stores runs on both engines, or stands on a list with the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.qmtl.one_engine import ONE_ENGINE

TESTS = Path(__file__).parent
# Calls, and fixtures that a test asks for, by which a store is opened or has been.
_OPENS = re.compile(
    r"\b(?:EmbeddedStore|embedded_store|PostgresStore|postgres_store|SeamlessDataProvider)\("
    r"|\b(?:make|open_store|new_schema|postgres_url): "
    r"|\(EmbeddedStore, "
    r"|\b(?:EmbeddedMachine|PostgresMachine)\b"
)
_ON_BOTH = re.compile(r"^BOTH_ENGINES = True$", re.MULTILINE)
# Those of `runtime/io/sql/conftest.py`, which are folders and schemas by turns.
_PLACES = re.compile(r"\b(?:new_place|new_store|place|places|place_of|target): ")


def opens_stores(text: str) -> bool:
    return bool(_OPENS.search(text))


def runs_on_both(text: str, *, has_places: bool) -> bool:
    return bool(_ON_BOTH.search(text)) or (has_places and bool(_PLACES.search(text)))


def of_one_engine() -> set[str]:
    found = set()
    for path in [*TESTS.glob("runtime/**/test_*.py"), *TESTS.glob("stories/test_*.py")]:
        text = path.read_text(encoding="utf-8")
        has_places = path.parent == TESTS / "runtime" / "io" / "sql"
        if opens_stores(text) and not runs_on_both(text, has_places=has_places):
            found.add(path.relative_to(TESTS).as_posix())
    return found


def test_what_runs_on_one_engine_says_why() -> None:
    listed = {name for names in ONE_ENGINE.values() for name in names}
    assert of_one_engine() - listed == set(), "BOTH_ENGINES = True, or a reason in one_engine.py"
    assert listed - of_one_engine() == set(), "it runs on both by now, or is gone"


def test_each_stands_on_the_list_once() -> None:
    names = [name for names in ONE_ENGINE.values() for name in names]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("text", "opens", "both"),
    [
        ('with EmbeddedStore(tmp_path / "store") as store:', True, False),
        ("def test_it(postgres_url: str) -> None:", True, False),
        ("def test_it(make: Make) -> None:", True, False),
        ("BOTH_ENGINES = True\n\ndef test_it(make: Make) -> None:", True, True),
        ("# BOTH_ENGINES = True\n\ndef test_it(make: Make) -> None:", True, False),
        ("store = MemoryStore()", False, False),
    ],
)
def test_a_module_is_told_by_what_it_opens(text: str, opens: bool, both: bool) -> None:
    assert (opens_stores(text), runs_on_both(text, has_places=False)) == (opens, both)
