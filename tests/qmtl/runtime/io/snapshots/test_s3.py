"""Two real S3 servers: promises of a place, racing writers, and what servers do when they fail."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from qmtl.foundation.clock import SystemClock
from qmtl.foundation.errors import SourceUnavailableError, StoreCorruptError, StoreError
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.snapshots import objects
from qmtl.runtime.io.snapshots.addresses import place_named
from qmtl.runtime.io.snapshots.numbering import numbers, read_manifest
from qmtl.runtime.io.snapshots.objects import ObjectPlace
from qmtl.runtime.io.snapshots.upkeep import find_garbage, verify_snapshot
from qmtl.runtime.io.snapshots.writing import SnapshotWritten, write_snapshot
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import ALL_TIME
from qmtl.runtime.io.vendors.snapshot import SnapshotVendor
from qmtl.runtime.sdk.snapshot_export import export_snapshot
from qmtl.runtime.sdk.snapshot_import import import_snapshot
from tests.qmtl.faulty_s3 import Asked, FaultyS3
from tests.qmtl.runtime.io.snapshots.filled import DAILY, SECONDS, add_seconds, fill, seconds
from tests.qmtl.runtime.io.snapshots.place_suite import PlaceSuite
from tests.qmtl.s3 import BUCKET, S3Server


@pytest.fixture
def url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address below which nothing is yet."""
    for name, value in s3_server.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "RETRIES", 2)
    return f"s3://{BUCKET}/{uuid4().hex}/deep"


@pytest.fixture
def proxy(s3_server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """Stands before the server from now on."""
    faulty = FaultyS3(s3_server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{faulty.port}")
    yield faulty
    faulty.close()


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    fill(made)
    return made


def write(store: Store, url: str) -> SnapshotWritten:
    return write_snapshot(store, place_named(url), [SECONDS, DAILY], clock=SystemClock())


class TestS3(PlaceSuite):
    @pytest.fixture
    def place(self, url: str) -> ObjectPlace:
        return ObjectPlace(url)


def test_there_and_back(store, url):
    first = write(store, url)
    assert first.written == 7
    add_seconds(store, 10, shift=1.0)
    second = write(store, url)
    assert (second.manifest.number, second.written) == (2, 1)
    place = place_named(url)
    assert verify_snapshot(place, second.manifest).problems == ()
    assert find_garbage(place, now=SystemClock().now(), grace=0).old == ()
    target = MemoryStore()
    loaded = import_snapshot(target, url)
    assert loaded.manifest == second.manifest
    for series in (SECONDS, DAILY):
        assert target.read(series, ALL_TIME).frame.equals(store.read(series, ALL_TIME).frame, null_equal=True)
        assert target.read(series, ALL_TIME).answers == store.read(series, ALL_TIME).answers


def _race(url: str, shift: float) -> int:
    store = MemoryStore()
    add_seconds(store, 0, shift=shift)
    return export_snapshot(store, url).manifest.number


def test_of_processes_that_race_each_has_its_number_and_all_are_whole(url, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        found = list(pool.map(_race, [url] * 8, map(float, range(8))))
    assert sorted(found) == list(range(1, 9))
    place = place_named(url)
    assert numbers(place) == sorted(found)
    for number, shift in zip(found, map(float, range(8)), strict=True):
        manifest = read_manifest(place, number)
        assert verify_snapshot(place, manifest).problems == ()
        store = MemoryStore()
        add_seconds(store, 0, shift=shift)
        wanted = export_snapshot(store, Path(tmp_path / str(number))).manifest
        assert manifest.fingerprint == wanted.fingerprint, "each holds what its own writer held"


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_now_and_then(store, url, proxy, status):
    failed: set[tuple[str, str]] = set()

    def once(method: str, path: str) -> int | None:
        asked = (method, path.partition("?")[0])
        if asked in failed or "/manifests/" in path:
            return None
        failed.add(asked)
        return status

    proxy.before = once
    made = write(store, url)
    assert len(failed) >= 8
    proxy.before = lambda method, path: None
    assert verify_snapshot(place_named(url), made.manifest).problems == ()


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_goes_on_failing(store, url, proxy, status):
    write(store, url)
    add_seconds(store, 10, shift=1.0)
    proxy.before = lambda method, path: status if method == "PUT" else None
    with pytest.raises(StoreError, match=f"cannot be written[\\s\\S]*{status}"):
        write(store, url)
    proxy.before = lambda method, path: None
    assert numbers(place_named(url)) == [1]
    assert write(store, url).manifest.number == 2


def test_an_answer_that_is_lost_after_the_manifest_was_written(store, url, proxy):
    lost = []

    def lose(asked: Asked) -> Asked | None:
        if asked.method == "PUT" and "/manifests/" in asked.path and not lost:
            lost.append(asked.status)
            return asked._replace(status=500, body=b"")
        return asked

    proxy.fault = lose
    assert write(store, url).manifest.number == 1
    assert lost == [200]
    assert numbers(place_named(url)) == [1]


@pytest.mark.parametrize("is_told", [True, False])
def test_a_body_cut_short_is_never_taken_for_the_file(store, url, proxy, is_told):
    """The length may say so, or the connection ends before its length."""
    made = write(store, url)

    def cut(asked: Asked) -> Asked | None:
        if asked.method != "GET" or asked.is_listing or "/segments/" not in asked.path:
            return asked
        return asked._replace(body=asked.body[:-9]) if is_told else None

    proxy.fault = cut
    with pytest.raises(StoreError):
        import_snapshot(target := MemoryStore(), url)
    assert target.newest().tx == 0
    assert len(verify_snapshot(place_named(url), made.manifest).problems) == 4
    proxy.fault = lambda asked: asked
    import_snapshot(target, url)


def test_a_manifest_cut_short_is_no_older_snapshot(store, url, proxy):
    write(store, url)
    proxy.fault = lambda asked: (
        asked._replace(body=asked.body[:-9]) if asked.method == "GET" and not asked.is_listing else asked
    )
    with pytest.raises(StoreCorruptError, match="is damaged"):
        read_manifest(place_named(url))


def test_a_wrong_etag_changes_nothing(store, url, proxy):
    """Content is known by its SHA-256, which we compute ourselves."""
    proxy.fault = lambda asked: asked._replace(
        headers={name: '"0000"' if name.lower() == "etag" else value for name, value in asked.headers.items()}
    )
    made = write(store, url)
    assert verify_snapshot(place_named(url), made.manifest).problems == ()
    import_snapshot(MemoryStore(), url)


def test_a_listing_that_comes_late(store, url, proxy):
    write(store, url)
    proxy.fault = lambda asked: (
        asked._replace(
            body=b"<ListBucketResult><Name>bars</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
        )
        if asked.is_listing
        else asked
    )
    place = place_named(url)
    assert numbers(place) == [1]
    assert write(store, url).manifest.number == 2
    assert find_garbage(place, now=SystemClock().now(), grace=0).old == ()


def test_one_flipped_byte(store, url):
    made = write(store, url)
    place, part = place_named(url), made.manifest.series[1].segments[1].part
    data = place.get(part.name)
    assert data is not None
    place.put(part.name, data[:60] + bytes([data[60] ^ 1]) + data[61:])
    (problem,) = verify_snapshot(place, made.manifest).problems
    assert part.name in problem
    vendor = SnapshotVendor(url)

    async def ask(span: Span) -> int:
        return sum([page.frame.height async for page in vendor.pages(SECONDS, span)])

    assert asyncio.run(ask(seconds(0))) == 25
    with pytest.raises(SourceUnavailableError, match="is damaged"):
        asyncio.run(ask(seconds(10)))


def test_credentials_that_are_missing_or_wrong(s3_server, store, url, monkeypatch):
    if s3_server.name == "S3Proxy":  # the other one asks nobody who he is
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "expired")
        with pytest.raises(StoreError, match="give credentials that hold"):
            write(store, url)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    # No machine of a cloud answers for them here.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", s3_server.url + "/nowhere")
    with pytest.raises(StoreError) as raised:
        write(store, url)
    assert raised.value.next_step


def test_expired_credentials_are_told(store, url, proxy):
    proxy.fault = lambda asked: asked._replace(
        status=403,
        body=b'<?xml version="1.0"?><Error><Message>The token has expired.</Message></Error>',
    )
    with pytest.raises(StoreError, match="The token has expired") as raised:
        write(store, url)
    assert "credentials" in str(raised.value)


def test_a_bucket_that_is_not_there(store, url):
    with pytest.raises(StoreError, match="cannot be listed"):
        write(store, "s3://nowhere/x")


def test_many_threads_read_one_place(store, url):
    made = write(store, url)
    place = place_named(url)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: verify_snapshot(place, made.manifest).problems, range(8)))
    assert found == [()] * 8
