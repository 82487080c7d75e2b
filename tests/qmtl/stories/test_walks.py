"""How many modules and reads a fetch, a backfill, an import and a registration take: bounds for each.

Modules are bounded from above, since what a process keeps in memory spares some of them; reads are exact.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from qmtl.foundation.schema import Schema, SchemaRegistryClient, SchemaType
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.sdk.importing import import_file
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor
from qmtl.services.registry.sqlite import SqliteStorage
from tests.qmtl.stories.walks import CountingStorage, CountingStore, Walk, walk

SERIES = "ohlcv:test:BTC/USDT:1m"
FIRST, SECOND, THIRD = ((f"2024-01-0{day}", f"2024-01-0{day + 1}") for day in (1, 2, 3))

ONE = '{"type": "object", "properties": {"close": {"type": "number"}}, "additionalProperties": false}'
TWO = ONE.replace('"close"', '"ts": {"type": "integer"}, "close"')


class Bounds(NamedTuple):
    """How many modules a call may meet, and how many of them belong to a store (or a registry's storage)."""

    modules: int
    of_store: int


# By what the page calls them. A new module on the way is a reason to look at it.
BOUNDS = {
    "a fetch that the store answers": Bounds(70, 23),
    "a fetch that a vendor answers": Bounds(121, 39),
    "a fetch that the cache answers": Bounds(26, 4),
    "a backfill": Bounds(92, 37),
    "an import": Bounds(99, 37),
    "a registration": Bounds(30, 4),
}
# How many reads: the first time, and of a series (or a schema) that this provider (or registry) knows.
READS = {
    "a fetch that the store answers": (4, 1),
    "a fetch that a vendor answers": (6, 6),
    "a fetch that the cache answers": (0, 0),
    "a backfill": (5, 4),
    "an import": (6, 5),
    "a registration": (15, 4),
}
PAGES = Path(__file__).parents[3] / "docs/en/architecture"
STORES = ("qmtl.runtime.io.store", "qmtl.runtime.io.sql", "qmtl.services.registry")


class Steps(NamedTuple):
    """Where a page lists the steps of a call: below a heading, with modules that are relative to `base`.

    whole: packages of which a page names every module that ran.
    """

    page: str
    heading: str
    base: str
    whole: tuple[str, ...]


# Packages whose modules do the work of a request; those of stores, rules and values are met by many steps.
_OF_A_REQUEST = ("coordination", "ingest", "io", "io.bar_files", "io.vendors", "planning", "sdk")
STEPS = {
    "a fetch that a vendor answers": Steps("request.md", "## Step by step", "qmtl.runtime", _OF_A_REQUEST),
    "a backfill": Steps("backfill.md", "## A backfill, step by step", "qmtl.runtime", _OF_A_REQUEST),
    "an import": Steps("backfill.md", "## An import, step by step", "qmtl.runtime", _OF_A_REQUEST),
    "a registration": Steps(
        "schemas.md", "### A registration", "qmtl.foundation.schema", ("registry", "registry.rules")
    ),
}

Make = Callable[..., SeamlessDataProvider]


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[CountingStore]:
    with EmbeddedStore(tmp_path / "bars", clock=clock) as opened:
        yield CountingStore(opened)


def shown(name: str, met: Walk) -> Walk:
    """For whoever runs this with `-s`."""
    packages: dict[str, list[str]] = {}
    for module in sorted(met.modules):
        package, _, last = module.rpartition(".")
        packages.setdefault(package, []).append(last)
    lines = [f"{name}: {len(met.modules)} modules, {len(met.reads)} reads: {', '.join(met.reads)}"]
    lines += [f"  {package}: {' '.join(modules)}" for package, modules in packages.items()]
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    return met


def within(name: str, met: Walk) -> None:
    of_store = sum(module.startswith(STORES) for module in met.modules)
    assert len(met.modules) <= BOUNDS[name].modules
    assert of_store <= BOUNDS[name].of_store


def as_the_page_says(name: str, met: Walk) -> None:
    """The page gives the reads in their order, and names no module that did not run."""
    page, heading, base, whole = STEPS[name]
    text = (PAGES / page).read_text("utf-8").split(f"\n{heading}\n")[1].split("\n## ")[0]
    reads, modules = [], set()
    for row in re.findall(r"^\| \d\. (.*) \|$", text, re.MULTILINE):
        _, of_step, read = row.split("|")
        reads += re.findall(r"\w+", read)
        for package, names in re.findall(r"`([\w.]+)`: ([\w, ]+)", of_step):
            modules |= {f"{base}.{package}.{name}" for name in re.findall(r"\w+", names)}
    assert tuple(reads) == met.reads
    assert modules <= met.modules, f"did not run: {sorted(modules - met.modules)}"
    ran = {
        module for module in met.modules if module.rpartition(".")[0] in {f"{base}.{one}" for one in whole}
    }
    assert ran <= modules, f"the page lacks {sorted(ran - modules)}"


def test_a_stored_fetch(make: Make, store: CountingStore) -> None:
    with make(ScriptedVendor(), store=store) as filled:
        for days in (FIRST, SECOND):
            filled.fetch(SERIES, *days)
    provider, name = make({}, store=store), "a fetch that the store answers"
    cold = shown(name, walk(lambda: provider.fetch(SERIES, *FIRST), store))
    assert sorted(cold.reads) == ["baseline_report", "decisions", "facts", "read"]
    within(name, cold)
    known = shown(f"{name}, of a known series", walk(lambda: provider.fetch(SERIES, *SECOND), store))
    assert known.reads == ("read",)
    assert READS[name] == (len(cold.reads), len(known.reads))


def test_a_cached_fetch(make: Make, store: CountingStore) -> None:
    provider, name = make(ScriptedVendor(), store=store), "a fetch that the cache answers"
    for _ in range(2):
        provider.fetch(SERIES, *FIRST)
    met = shown(name, walk(lambda: provider.fetch(SERIES, *FIRST), store))
    assert met.reads == ()
    within(name, met)


def test_a_fetch_that_asks_a_vendor(make: Make, store: CountingStore) -> None:
    with make(ScriptedVendor(), store=store) as first:
        first.fetch(SERIES, *FIRST)  # so that every module is loaded
    provider, name = make(ScriptedVendor(), store=store), "a fetch that a vendor answers"
    met = shown(name, walk(lambda: provider.fetch(SERIES, *SECOND), store))
    assert sorted(met.reads) == ["baseline_report", "decisions", "facts", "quarantined", "read", "read"]
    within(name, met)
    as_the_page_says(name, met)
    known = shown(f"{name}, of a known series", walk(lambda: provider.fetch(SERIES, *THIRD), store))
    # Both days lie in one stretch: with the second all of it is read, whose flags are kept from then on.
    assert sorted(known.reads) == ["baseline_report", "facts", "quarantined", *["read"] * 3]
    assert READS[name] == (len(met.reads), len(known.reads))


def test_a_backfill(make: Make, store: CountingStore) -> None:
    with make(ScriptedVendor(), store=store) as first:
        first.backfill(SERIES, *FIRST)
    provider, name = make(ScriptedVendor(), store=store), "a backfill"
    met = shown(name, walk(lambda: provider.backfill(SERIES, *SECOND), store))
    assert sorted(met.reads) == ["decisions", "facts", "quarantined", "read", "read"]
    within(name, met)
    as_the_page_says(name, met)
    known = shown(f"{name}, of a known series", walk(lambda: provider.backfill(SERIES, *THIRD), store))
    assert sorted(known.reads) == ["facts", "quarantined", "read", "read"]
    assert READS[name] == (len(met.reads), len(known.reads))


def test_an_import(make: Make, store: CountingStore, tmp_path: Path) -> None:
    files = []
    for number, days in enumerate((FIRST, SECOND, THIRD)):
        files.append(tmp_path / f"{number}.csv")
        ScriptedVendor().bars(SERIES, Span(*map(to_ns, days))).write_csv(files[-1])
    with make({}, store=store) as first:
        import_file(first, files[0], SERIES)
    provider, name = make({}, store=store), "an import"
    met = shown(name, walk(lambda: import_file(provider, files[1], SERIES), store))
    once = ["accepted", "baseline_report", "decisions", "facts", "facts", "read"]
    assert sorted(met.reads) == once
    within(name, met)
    as_the_page_says(name, met)
    known = shown(f"{name} of a known series", walk(lambda: import_file(provider, files[2], SERIES), store))
    assert sorted(known.reads) == [verb for verb in once if verb != "decisions"]
    assert READS[name] == (len(met.reads), len(known.reads))


def test_a_registration(tmp_path: Path) -> None:
    with closing(SqliteStorage(tmp_path / "first")) as first:
        for text in (ONE, TWO):  # of other columns: what was read of a text is kept for the whole process
            of_other = Schema(text.replace("close", "price").replace("ts", "at"), SchemaType.JSON)
            SchemaRegistryClient(first).register("bars", of_other)
    name, one, two = "a registration", Schema(ONE, SchemaType.JSON), Schema(TWO, SchemaType.JSON)
    with closing(CountingStorage(SqliteStorage(tmp_path / "registry"))) as storage:
        registry = SchemaRegistryClient(storage)
        registry.register("bars", one)
        storage.transactions.clear()
        met = shown(name, walk(lambda: registry.register("bars", two), storage))
        assert storage.transactions == ["reading", "writing"]
        within(name, met)
        as_the_page_says(name, met)
        storage.transactions.clear()
        known = shown(f"{name} of a known text", walk(lambda: registry.register("bars", two), storage))
        assert storage.transactions == ["reading"], "no writer is waited for"
        assert READS[name] == (len(met.reads), len(known.reads))


def test_a_vendor_that_is_not_there_causes_no_second_read(make: Make, store: CountingStore) -> None:
    provider = make({}, store=store)
    met = walk(lambda: provider.fetch(SERIES, *FIRST, partial_ok=True), store)
    assert met.reads.count("read") == 1


def test_the_page_shows_these_figures() -> None:
    page = (PAGES / "index.md").read_text("utf-8")
    for name, bounds in BOUNDS.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        figures = [int(cell) for cell in line.split("|")[2:6]]
        assert figures == [*bounds, *READS[name]], name
