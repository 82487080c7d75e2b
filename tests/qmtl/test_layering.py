"""The layering is a test: what pyproject.toml promises about imports holds, and a breach would be seen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BROKEN = """\
[importlinter]
root_package = qmtl
include_external_packages = True

[importlinter:contract:upside-down]
name = Upside down
type = layers
layers =
    qmtl.foundation
    qmtl.runtime
"""


# Two modules, each of which needs the other for its types only.
RING = {
    "__init__.py": "",
    "one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ring.two\n",
    "two.py": "import ring.one\n",
}
NO_RING = """\
[importlinter]
root_package = ring

[importlinter:contract:no-circles]
name = No circles
type = acyclic_siblings
ancestors =
    ring
"""

# A store whose rows lie elsewhere, with its catalog in SQL: how docs/en/architecture/new_parts.md enters it.
ELSEWHERE = "qmtl.runtime.io.elsewhere"
_SQL = '"qmtl.runtime.io.sql"'
ENTRIES = {
    ' | qmtl.runtime.io.sql.sqlite",\n': f' | qmtl.runtime.io.sql.sqlite | {ELSEWHERE}",\n',
    f"forbidden_modules = [{_SQL}]": f'forbidden_modules = [{_SQL}, "{ELSEWHERE}"]',
}


def lint_imports(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run([*command, "--no-cache", *map(str, words)], cwd=cwd, capture_output=True, text=True)


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a checkout")
def test_imports_keep_the_contracts() -> None:
    done = lint_imports("--config", ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_broken_contract_would_be_seen(tmp_path: Path) -> None:
    config = tmp_path / "importlinter.ini"
    config.write_text(BROKEN)
    done = lint_imports("--config", config)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Upside down BROKEN" in done.stdout


def test_a_circle_of_types_alone_would_be_seen(tmp_path: Path) -> None:
    config = tmp_path / "importlinter.ini"
    config.write_text(NO_RING)
    package = tmp_path / "ring"
    package.mkdir()
    for name, text in RING.items():
        (package / name).write_text(text)
    done = lint_imports("--config", config, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No circles BROKEN" in done.stdout
    (package / "one.py").write_text("")
    assert lint_imports("--config", config, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("module", "imported", "kept"),
    [
        ("io/elsewhere/store.py", "qmtl.runtime.io.sql.beside_bars", True),
        ("io/elsewhere/store.py", "qmtl.runtime.io.store.rows", True),
        ("io/elsewhere/store.py", "qmtl.runtime.io.sql.sqlite.directory", False),
        ("io/sql/postgres/store.py", "qmtl.runtime.io.sql.sqlite.directory", False),
        ("io/sql/plans.py", "qmtl.runtime.io.sql.postgres.pool", False),
        ("io/sql/plans.py", ELSEWHERE, False),
        ("io/bar_files/tables.py", "qmtl.runtime.io.sql.commits", False),
        ("ingest/chunk.py", ELSEWHERE, False),
    ],
)
def test_a_store_with_rows_elsewhere_may_use_the_catalog_but_no_engine(
    tmp_path: Path, module: str, imported: str, kept: bool
) -> None:
    shutil.copytree(ROOT / "qmtl", tmp_path / "qmtl", ignore=shutil.ignore_patterns("__pycache__"))
    config = (ROOT / "pyproject.toml").read_text("utf-8")
    for entry, with_it in ENTRIES.items():
        assert config.count(entry) == 1
        config = config.replace(entry, with_it)
    (tmp_path / "pyproject.toml").write_text(config, "utf-8")
    package = tmp_path / "qmtl/runtime/io/elsewhere"
    package.mkdir()
    (package / "__init__.py").touch()
    with (tmp_path / "qmtl/runtime" / module).open("a", encoding="utf-8") as file:
        file.write(f"import {imported}\n")
    done = lint_imports("--config", tmp_path / "pyproject.toml", cwd=tmp_path)
    assert (done.returncode == 0) is kept, done.stdout + done.stderr
    assert kept or f"{imported}" in done.stdout


def test_the_overview_names_every_contract() -> None:
    overview = (ROOT / "docs/en/architecture/index.md").read_text("utf-8")
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for contract in config["tool"]["importlinter"]["contracts"]:
        assert f"\n| {contract['name']} |" in overview


def table_of_storage(first: str) -> list[list[str]]:
    """The rows of the table of docs/en/architecture/storage.md whose header begins so, as their cells."""
    page = (ROOT / "docs/en/architecture/storage.md").read_text("utf-8")
    rows = page.split(f"\n| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def sql_modules() -> dict[str, str]:
    folder = ROOT / "qmtl/runtime/io/sql"
    return {path.stem: path.read_text("utf-8") for path in folder.glob("*.py") if path.stem != "__init__"}


def test_the_modules_of_a_catalog_know_no_packed_rows() -> None:
    groups = [set(re.findall(r"`(\w+)`", row[0])) for row in table_of_storage("modules of `io/sql`")]
    catalog, modules = groups[0], sql_modules()
    assert sorted(name for group in groups for name in group) == sorted(modules), (
        "each module is in one group"
    )
    for name in catalog - {"database", "dialect"}:  # the protocols; a dialect has statements of both
        assert not re.search(r"\b(FROM|INTO|JOIN|UPDATE) (chunk|blob|hot)\b", modules[name]), name
        met = set(re.findall(r"^from qmtl\.runtime\.io\.sql\.(\w+) import", modules[name], re.MULTILINE))
        assert met <= catalog, f"{name} knows {sorted(met - catalog)}"


@pytest.mark.parametrize("words", ["RETURNING", "ON CONFLICT", "SAVEPOINT"])
def test_the_page_says_where_sql_is_not_that_of_every_engine(words: str) -> None:
    page = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in table_of_storage("SQL")}
    found = {name for name, text in sql_modules().items() if f"{words} " in text}
    assert page["savepoints" if words == "SAVEPOINT" else words] == found
