"""What the two engines do not share is what the page on storage says, and it lies where the page says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import qmtl
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.dialect import Connection, Dialect

PACKAGE = Path(qmtl.__file__).parent / "runtime/io/sql"
PAGE = (Path(__file__).parents[5] / "docs/en/architecture/storage.md").read_text()
LIST = PAGE.partition("### In what the engines differ")[2].partition("\n## ")[0]
NAMED = set(re.findall(r"`(?:[A-Za-z]+\.)?([a-z_]+)", LIST))


def members(protocol: type) -> set[str]:
    own = {name for name in vars(protocol) if not name.startswith("_")}
    return own | set(protocol.__annotations__)


def modules(engine: str) -> set[str]:
    return {path.stem for path in (PACKAGE / engine).glob("[!_]*.py")}


def test_every_expression_that_differs_is_in_the_list() -> None:
    # `name` is what an engine is called in texts.
    assert {field.name for field in fields(Dialect)} - NAMED == {"name"}


# What a store says of itself, and its end: they differ in nothing but the value.
OF_ITSELF = {"dialect", "store_id", "place_id", "shard_steps", "location", "read_only", "close"}


@pytest.mark.parametrize("protocol", [Database, Connection])
def test_every_verb_that_differs_is_in_the_list(protocol: type) -> None:
    assert members(protocol) - NAMED - OF_ITSELF == set()


def test_every_module_of_an_engine_is_on_the_page() -> None:
    for engine in ("sqlite", "postgres"):
        lacking = [name for name in modules(engine) if not re.search(rf"`(\w+/)?{name}(\.py)?`", PAGE)]
        assert lacking == [], engine


def test_what_one_engine_has_alone_and_what_each_has_of_its_own() -> None:
    after = LIST.rpartition("| the module `layout`")[2].partition("\n\n")[2]
    alone, _, each = after.partition("Each\nengine" if "Each\nengine" in after else "Each engine")
    sqlite, _, postgres = alone.partition("SQLite's alone")
    shared = modules("sqlite") & modules("postgres")
    for text, engine in ((sqlite, "sqlite"), (postgres, "postgres")):
        assert set(re.findall(r"`(\w+)`", text)) <= modules(engine) - shared
    assert set(re.findall(r"`(\w+)`", each)) == shared - {"dialect", "layout"}


def test_no_engine_is_named_in_what_they_share() -> None:
    """But where sentences explain why something is as it is."""
    for path in PACKAGE.glob("*.py"):
        text = path.read_text()
        assert "psycopg" not in text, path
        assert "import sqlite3" not in text, path
