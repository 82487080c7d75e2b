"""Any file of ours that is cut to nothing is made anew, where it can be, or refused by its name."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml

import qmtl
from qmtl.foundation import schedules
from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import AuditLogError, InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.schema.documents import Schema
from qmtl.foundation.schema.governance.audit import Event
from qmtl.foundation.schema.governance.audit_file import AuditLog
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import to_ns
from qmtl.interfaces.cli.fetch import read_sla
from qmtl.runtime.coordination.local_leases import LocalLeases
from qmtl.runtime.io.rates import RateBudget
from qmtl.runtime.io.sql.sqlite.backup import backup, restore
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.lease_suite import claimed_elsewhere
from qmtl.services.http.access import Credentials, token_hash
from qmtl.services.registry.sqlite import SqliteStorage

SERIES = SeriesId.parse("ohlcv:test:X:1m")
SPAN = Span(to_ns("2024-01-01"), to_ns("2024-01-01T01:00Z"))


def make_store(folder: Path) -> None:
    with EmbeddedStore(folder / "bars") as store:
        store.commit(SERIES, Write("v", 1, synthetic_bars(SERIES, SPAN), Coverage.of(SPAN)))


def read_store(folder: Path) -> None:
    with EmbeddedStore(folder / "bars") as store:
        assert store.read(SERIES, SPAN).frame.height == 60


def use_store(folder: Path) -> None:
    read_store(folder)
    make_store(folder)


def make_backup(folder: Path) -> None:
    make_store(folder)
    with EmbeddedStore(folder / "bars") as store:
        backup(store, folder / "saved")


def restore_backup(folder: Path) -> None:
    try:
        restore(folder / "saved", folder / "bars", replace=True)
    finally:
        read_store(folder)  # what was there is there


def make_registry(folder: Path) -> None:
    with closing(SqliteStorage(folder / "registry")) as storage:
        SchemaRegistryClient(storage).register("s", Schema('"string"'))


def read_registry(folder: Path) -> None:
    with closing(SqliteStorage(folder / "registry")) as storage:
        assert SchemaRegistryClient(storage).subjects() == ("s",)


def audit_log(folder: Path) -> AuditLog:
    return AuditLog(folder / "audit_log.jsonl", anchors=folder / "anchors")


def make_log(folder: Path) -> None:
    log = audit_log(folder)
    log.append(Event("note", note="the first"))
    log.anchor_path.rename(folder / "anchor.json")
    log.anchor_path.symlink_to(folder / "anchor.json")


def read_log(folder: Path) -> None:
    audit_log(folder).append(Event("note", note="the second"))


def make_credentials(folder: Path) -> None:
    entry = {"role": "read", "sha256": token_hash("secret")}
    (folder / "credentials.yml").write_text(yaml.safe_dump({"tokens": {"one": entry}}))


def read_credentials(folder: Path) -> None:
    Credentials.read(folder / "credentials.yml")


def make_sla(folder: Path) -> None:
    (folder / "sla.yml").write_text("total: 90s\n")


def spend(folder: Path) -> None:
    asyncio.run(RateBudget("venue", per_second=1_000, path=folder / "rates.sqlite").take())


Step = Callable[[Path], object]

REFUSED: list[tuple[str, Step, Step, type[Exception], str]] = [
    ("bars/bars.sqlite", make_store, read_store, StoreCorruptError, "bars"),
    ("saved/bars.sqlite", make_backup, restore_backup, StoreCorruptError, "saved"),
    ("registry/registry.sqlite", make_registry, read_registry, StoreCorruptError, "registry"),
    ("audit_log.jsonl", make_log, read_log, AuditLogError, "audit_log.jsonl"),
    ("anchor.json", make_log, read_log, StoreError, "anchors"),
    ("credentials.yml", make_credentials, read_credentials, InvalidRequestError, "credentials.yml"),
    ("sla.yml", make_sla, lambda folder: read_sla(folder / "sla.yml"), InvalidRequestError, "sla.yml"),
]


@pytest.mark.parametrize(
    ("name", "make", "use", "error", "named"), REFUSED, ids=[name for name, *_ in REFUSED]
)
def test_what_cannot_be_made_anew_is_refused_by_its_name_and_stays(
    tmp_path: Path, name: str, make: Step, use: Step, error: type[Exception], named: str
) -> None:
    make(tmp_path)
    os.truncate(tmp_path / name, 0)
    for _ in range(2):
        with pytest.raises(error) as refused:
            use(tmp_path)
        assert isinstance(refused.value, qmtl.QmtlError)
        assert str(tmp_path / named) in str(refused.value)
        assert refused.value.next_step
    assert (tmp_path / name).read_bytes() == b""


ANEW: list[tuple[str, Step, Step]] = [
    ("bars/bars.lock", make_store, use_store),
    ("registry/registry.lock", make_registry, read_registry),
    ("rates.sqlite", spend, spend),
]


@pytest.mark.parametrize(("name", "make", "use"), ANEW, ids=[name for name, *_ in ANEW])
def test_what_can_be_made_anew_is(tmp_path: Path, name: str, make: Step, use: Step) -> None:
    make(tmp_path)
    before = (tmp_path / name).stat().st_size
    os.truncate(tmp_path / name, 0)
    use(tmp_path)
    assert (tmp_path / name).stat().st_size == before
    use(tmp_path)


def test_a_budget_is_counted_anew_in_a_file_that_was_emptied(tmp_path: Path) -> None:
    spend(tmp_path)
    os.truncate(tmp_path / "rates.sqlite", 0)
    spend(tmp_path)
    with closing(sqlite3.connect(tmp_path / "rates.sqlite")) as file:
        assert file.execute("SELECT count(*) FROM meter").fetchone() == (1,)


def test_a_lease_whose_file_is_empty_is_free(tmp_path: Path) -> None:
    """The file of a holder who was killed stays, and holds nothing; nor does what it says."""
    key = LeaseKey("store", SERIES.text, 7)
    with claimed_elsewhere(LocalLeases(tmp_path), key):
        (file,) = tmp_path.glob("*.lease")
        left = file.read_bytes()
    assert left
    for content in (b"", left):
        file.write_bytes(content)
        with claimed_elsewhere(LocalLeases(tmp_path), key):
            assert file.exists()


def test_kept_sessions_are_computed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def sessions() -> Coverage:
        schedules.schedules.cache_clear()
        return calendar_named("XNYS").sessions(Span(to_ns("2024-01-01"), to_ns("2024-02-01")))

    before = sessions()
    kept = {file: file.read_bytes() for file in tmp_path.rglob("*.bin")}
    assert kept
    for file in kept:
        os.truncate(file, 0)
    assert sessions() == before
    assert {file: file.read_bytes() for file in kept} == kept


def test_settings_that_say_nothing_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "qmtl.yml").touch()
    with qmtl.SeamlessDataProvider.from_settings(tmp_path / "qmtl.yml") as provider:
        assert provider.store.list_series() == []
