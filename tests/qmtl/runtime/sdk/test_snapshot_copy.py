"""Every direction between folder, PostgreSQL, QuestDB and snapshot keeps bars, and tells what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError, StoreError
from qmtl.foundation.facts import NOTHING_DECLARED
from qmtl.foundation.fingerprint import fingerprint
from qmtl.foundation.schema.governance.decisions import Decision
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.numbering import read_manifest
from qmtl.runtime.io.snapshots.upkeep import verify_snapshot
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.sql.sqlite.layout import DATABASE
from qmtl.runtime.sdk import snapshot_copy
from qmtl.runtime.sdk.snapshot_copy import SnapshotCopied, SnapshotName, copy_with_snapshot
from qmtl.runtime.sdk.snapshot_export import export_snapshot
from qmtl.runtime.sdk.store_copy import copy_store
from qmtl.runtime.sdk.stores import opened_store
from qmtl.runtime.testing.store_suites.bars import SERIES, some_bars, write
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, add_seconds, fill

BOTH_ENGINES = True
KINDS = ("folder", "postgres", "questdb", "snapshot")
EVER = Span(EARLIEST, LATEST)
OWN_COMMITS = ("the id of the store, and the numbers and times of its commits: it has those of this copy",)


@pytest.fixture
def place_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """A new place of a kind."""
    numbers = count()

    def place(kind: str) -> str:
        here = tmp_path / f"place {next(numbers)}"
        if kind == "postgres":
            made: Callable[[], str] = request.getfixturevalue("new_schema")
            return made()
        if kind == "questdb":
            url: str = request.getfixturevalue("questdb_server").url(
                str(here).replace(" ", "_"), f"test_{uuid4().hex}"
            )
            return url
        return f"snapshot:{here}" if kind == "snapshot" else str(here)

    return place


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A store with a past, and with all that is kept beside bars."""
    with EmbeddedStore(tmp_path / "filled") as store:
        fill(store)
        store.pin("paper")
        add_seconds(store, 10, shift=1.0)
        store.decide("bars", Decision(1, "promote", 2, "why not", "1:ab"))
    return str(tmp_path / "filled")


def copied(source: str, target: str) -> SnapshotCopied | None:
    ends = SnapshotName.parse(source) or source, SnapshotName.parse(target) or target
    if any(isinstance(end, SnapshotName) for end in ends):
        return copy_with_snapshot(*ends)
    assert copy_store(source, target).source
    return None


def said_by(place: str) -> dict[Any, Any]:
    """Rows, answers, facts, reports and acceptances of each series."""
    if (name := SnapshotName.parse(place)) is not None:
        from qmtl.runtime.io.snapshots.reading import bars_of, opinions_of, records_of

        where = place_named(name.place)
        manifest = read_manifest(where, name.number)
        assert verify_snapshot(where, manifest).problems == ()
        return {
            one.series: (
                fingerprint(bars_of(where, one, EVER)),
                records_of(where, one),
                one.facts,
                [dict(report) for report in opinions_of(where, one).reports],
                list(opinions_of(where, one).accepted),
            )
            for one in manifest.series
        }
    with closing(opened_store(place, clock=SystemClock(), retention=None)) as store:
        return {
            one.series: (
                fingerprint(store.read(one.series, EVER).frame),
                list(store.read(one.series, EVER).answers),
                store.facts(one.series) or NOTHING_DECLARED,
                [report["report"] for report in reversed(store.reports(one.series))],
                store.accepted(one.series),
            )
            for one in store.list_series()
        }


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_every_direction(folder: str, place_of: Callable[[str], str], source: str, target: str) -> None:
    before = said_by(folder)
    assert list(before) == [DAILY, SECONDS]
    begin, end = folder, place_of(target)
    if source != "folder":
        begin = place_of(source)
        copied(folder, begin)
    made = copied(begin, end)
    assert said_by(end) == before
    if made is None:
        return
    assert (made.series, made.number) == (2, 1)
    assert made.fingerprint == read_manifest(place_named(place_in(begin, end))).fingerprint
    assert "s3cret" not in repr(made)
    if source == "snapshot":
        assert made.not_kept == (() if target == "snapshot" else OWN_COMMITS)
    else:
        kept = ("1 pin", "1 schema decision")
        assert all(one in made.not_kept for one in kept), made.not_kept
        assert [one.partition(" ")[2] for one in made.not_kept] == [
            *("older versions", "commit times", "pin", "schema decision")
        ]


def place_in(*ends: str) -> str:
    """That of a snapshot among two ends; of two, of the second."""
    names = [SnapshotName.parse(end) for end in ends]
    return [name.place for name in names if name is not None][-1]


def test_a_store_of_a_snapshot_goes_on_and_goes_back(folder: str, place_of: Callable[[str], str]) -> None:
    """The same bars have the same files: nothing is written anew."""
    where, again = place_of("snapshot"), place_of("folder")
    first = copied(folder, where)
    copied(where, again)
    back = copied(again, where)
    assert first is not None
    assert back is not None
    assert (back.number, back.fingerprint) == (2, first.fingerprint)
    with EmbeddedStore(Path(again)) as store:
        assert store.verify().is_sound
        assert store.commit(SERIES, write(some_bars(0, 9))).added == 9


@pytest.mark.parametrize("kind", ["folder", "postgres", "questdb"])
def test_a_store_that_is_half_filled_is_none_and_is_gone_on_with(
    folder: str, place_of: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    where, target = place_of("snapshot"), place_of(kind)
    copied(folder, where)
    name = SnapshotName.parse(where)
    assert name is not None

    def stop(what: str, done: int, total: int) -> None:
        if what == f"writing {SECONDS}" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_with_snapshot(name, target, progress=stop)
    with pytest.raises(InvalidRequestError, match="there is no store to copy"):
        copy_store(target, tmp_path / "of half a store")
    with EmbeddedStore(tmp_path / "other") as other:
        add_seconds(other, 0)
    export_snapshot(tmp_path / "other", tmp_path / "others")
    with pytest.raises(InvalidRequestError, match="the copy cannot be made at"):
        copy_with_snapshot(SnapshotName(str(tmp_path / "others"), None), target)
    with pytest.raises(InvalidRequestError):
        copy_store(tmp_path / "other", target)
    copy_with_snapshot(name, target)
    assert said_by(target) == said_by(folder)


def test_a_damaged_snapshot_becomes_no_store(folder: str, tmp_path: Path) -> None:
    export_snapshot(folder, tmp_path / "out")
    segment = next((tmp_path / "out/segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[100] ^= 1
    segment.write_bytes(bytes(data))
    name = SnapshotName(str(tmp_path / "out"), None)
    for target in (tmp_path / "store", SnapshotName(str(tmp_path / "elsewhere"), None)):
        with pytest.raises(StoreCorruptError, match="is damaged"):
            copy_with_snapshot(name, target)
    assert not (tmp_path / "store" / DATABASE).exists()
    assert not (tmp_path / "elsewhere/manifests").exists()


def test_what_was_written_and_comes_back_otherwise_is_told(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*args: Any, **options: Any) -> Any:
        made = export_snapshot(*args, **options)
        next((tmp_path / "out/segments").iterdir()).write_bytes(b"spoilt")
        return made

    monkeypatch.setattr(snapshot_copy, "export_snapshot", spoilt)
    with pytest.raises(StoreCorruptError, match="the copy is not what was copied"):
        copied(folder, f"snapshot:{tmp_path / 'out'}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("snapshot:out", SnapshotName("out", None)),
        ("snapshot:/a b/out#12", SnapshotName("/a b/out", 12)),
        ("snapshot:out#x", SnapshotName("out#x", None)),
        ("s3://bucket/path#3", SnapshotName("s3://bucket/path", 3)),
        ("snapshot:s3://bucket/path", SnapshotName("s3://bucket/path", None)),
        ("out", None),
        ("./snapshot:out", None),
        ("postgresql://me@host/bars", None),
    ],
)
def test_how_a_snapshot_is_named(text: str, name: SnapshotName | None) -> None:
    assert SnapshotName.parse(text) == name


def test_what_cannot_be_asked(folder: str, tmp_path: Path, place_of: Callable[[str], str]) -> None:
    with pytest.raises(InvalidRequestError, match="names no place"):
        SnapshotName.parse("snapshot:#3")
    out = str(tmp_path / "out")
    with pytest.raises(InvalidRequestError, match="cannot be written as number 3"):
        copied(folder, f"snapshot:{out}#3")
    copied(folder, f"snapshot:{out}")
    with pytest.raises(InvalidRequestError, match="there is no snapshot 3"):
        copied(f"snapshot:{out}#3", str(tmp_path / "store"))
    with pytest.raises(InvalidRequestError, match="are at the same place"):
        copied(f"snapshot:{out}", f"snapshot:{tmp_path}/./out")
    with pytest.raises(InvalidRequestError, match="there is no store to copy"):
        copied(str(tmp_path / "nothing"), f"snapshot:{out}")
    with pytest.raises((InvalidRequestError, StoreError), match=r"already|not empty"):
        copied(f"snapshot:{out}", folder)
    assert not (tmp_path / "nothing").exists()


def test_bars_before_1970_do_not_go_into_questdb(tmp_path: Path, place_of: Callable[[str], str]) -> None:
    with EmbeddedStore(tmp_path / "old") as store:
        store.commit(SERIES, write(some_bars(-1_000, 10)))
    copied(str(tmp_path / "old"), f"snapshot:{tmp_path / 'out'}")
    with pytest.raises(InvalidRequestError, match="cannot be copied into QuestDB"):
        copied(f"snapshot:{tmp_path / 'out'}", place_of("questdb"))
