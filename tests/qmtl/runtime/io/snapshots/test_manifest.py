"""A manifest says what it said when it was written, or that it was changed; it leads nowhere else."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from qmtl.foundation.errors import InvalidRequestError, StoreCorruptError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.snapshots.manifest import (
    ANSWERS,
    FORMAT,
    REPORTS,
    SEGMENTS,
    Manifest,
    Segment,
    SeriesEntry,
    _checksum,
    manifest_name,
    manifest_number,
    part_of,
)

BTC, ETH = SeriesId.parse("ohlcv:x:BTC/USDT:1m"), SeriesId.parse("ohlcv:x:ÄTH:1d")
SEGMENT = Segment(part_of(SEGMENTS, b"bars"), Span(0, 100), 3, 10, 90, "blake3:aa")
LATER = Segment(part_of(SEGMENTS, b"more"), Span(100, 200), 2, 110, 190, "blake3:bb")
ENTRY = SeriesEntry(
    BTC,
    (SEGMENT, LATER),
    part_of(ANSWERS, b"answers"),
    7,
    SeriesFacts(calendar="XNYS"),
    part_of(REPORTS, b"{}"),
    "bars/1",
    "0011",
)
EMPTY = SeriesEntry(ETH, (), None, 0, NOTHING_DECLARED, None, None, None)
MANIFEST = Manifest(3, "f00", 5, "qmtl 0", "store", 4, (ENTRY, EMPTY))


def changed(**values: object) -> bytes:
    """The manifest with other values, and a checksum that fits them: as a hostile writer would make it."""
    body = json.loads(MANIFEST.to_bytes())
    del body["checksum"]
    for name, value in values.items():
        if name == "segment":
            body["series"][0]["segments"][0] |= value
        elif name == "entry":
            body["series"][0] |= value
        else:
            body[name] = value
    return json.dumps({**body, "checksum": _checksum(body)}).encode()


def read(data: bytes) -> Manifest:
    return Manifest.from_bytes(data, 3, "here")


def test_it_comes_back_as_it_was_written():
    assert read(MANIFEST.to_bytes()) == MANIFEST
    assert read(changed()) == MANIFEST


def test_what_follows_from_its_parts():
    assert (MANIFEST.rows, ENTRY.rows, ENTRY.span) == (5, 5, Span(10, 190 + BTC.timeframe.step))
    assert (EMPTY.rows, EMPTY.span) == (0, None)
    assert len(MANIFEST.parts) == 4
    assert MANIFEST.entry(ETH) is EMPTY
    with pytest.raises(InvalidRequestError, match="has no such series"):
        MANIFEST.entry(SeriesId.parse("ohlcv:x:BTC/USDT:5m"))


def test_the_fingerprint_follows_rows_and_ranges_alone():
    other = replace(ENTRY, segments=(replace(SEGMENT, part=part_of(SEGMENTS, b"packed anew")), LATER))
    assert other.fingerprint == ENTRY.fingerprint
    for change in ({"fingerprint": "blake3:cc"}, {"rows": 4}, {"span": Span(0, 99)}):
        assert replace(ENTRY, segments=(replace(SEGMENT, **change), LATER)).fingerprint != ENTRY.fingerprint


def test_any_changed_byte_is_found():
    data = MANIFEST.to_bytes()
    draw = random.Random(4)
    for _ in range(300):
        place, value = draw.randrange(len(data)), draw.randrange(256)
        flipped = data[:place] + bytes([value]) + data[place + 1 :]
        if flipped == data:
            continue
        try:
            found = read(flipped)
        except (StoreCorruptError, InvalidRequestError):
            continue
        assert found == MANIFEST  # a blank between two values is no value


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b'{"what": "qmtl snapshot"}', b"\xff\xfe", b"[" * 10**5]
)
def test_what_is_no_manifest(data):
    with pytest.raises(StoreCorruptError, match=r"manifests/00000003.json is damaged"):
        read(data)


def test_one_cut_short():
    data = MANIFEST.to_bytes()
    for end in range(0, len(data), 97):
        with pytest.raises(StoreCorruptError):
            read(data[:end])


def test_a_newer_format_is_not_guessed_at():
    with pytest.raises(InvalidRequestError, match=f"has format {FORMAT + 1}") as raised:
        read(changed(format=FORMAT + 1, series="whatever it is by then", written_by="qmtl 9"))
    assert raised.value.why == "it was written by qmtl 9"


@pytest.mark.parametrize(
    "change",
    [
        {"number": 4},
        {"segment": {"file": "../../etc/passwd"}},
        {"segment": {"sha256": "../../../" + "a" * 55, "file": "segments/x.parquet"}},
        {"segment": {"rows": 30}},
        {"segment": {"rows": -1}},
        {"segment": {"rows": True}},
        {"segment": {"start": 20}},
        {"segment": {"end": 1 << 70}},
        {"segment": {"end": 150}},
        {"entry": {"series": "nonsense"}},
        {"entry": {"facts": {"unheard": 1}}},
        {"entry": {"segments": None}},
        {"fingerprint": "sha256:0"},
    ],
)
def test_a_manifest_that_contradicts_itself(change):
    with pytest.raises(StoreCorruptError):
        read(changed(**change))


@pytest.mark.parametrize(
    "name", ["manifests/1.json", "manifests/00000001.json.tmp", "segments/00000001.json"]
)
def test_other_files_have_no_number(name):
    assert manifest_number(name) is None


def test_numbers_and_names():
    assert manifest_name(12) == "manifests/00000012.json"
    assert manifest_number("manifests/00000012.json") == 12
