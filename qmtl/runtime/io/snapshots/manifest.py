"""What a snapshot says of itself: its series, and the immutable files that hold their bars and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from qmtl.foundation.errors import InvalidRequestError, QmtlError, StoreCorruptError
from qmtl.foundation.facts import NOTHING_DECLARED, SeriesFacts
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso

FORMAT = 1
WHAT = "qmtl snapshot"

# Folders of a snapshot, and what the files in them are called.
MANIFESTS, SEGMENTS, ANSWERS, REPORTS = "manifests/", "segments/", "answers/", "reports/"
SUFFIXES = {SEGMENTS: ".parquet", ANSWERS: ".parquet", REPORTS: ".json"}

_MANIFEST = re.compile(r"manifests/([0-9]{8})\.json")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Part:
    """A file that is named by its content. kind: the folder that it lies in. sha256, bytes: of the file."""

    kind: str
    sha256: str
    bytes: int

    @property
    def name(self) -> str:
        """Where it lies in the snapshot."""
        return f"{self.kind}{self.sha256}{SUFFIXES[self.kind]}"

    def to_json(self) -> dict[str, Any]:
        return {"file": self.name, "sha256": self.sha256, "bytes": self.bytes}

    @classmethod
    def from_json(cls, kind: str, values: Mapping[str, Any]) -> Part:
        part = cls(kind, _matching(_SHA256, values["sha256"]), _count(values["bytes"]))
        if values["file"] != part.name:  # a name of others could lead out of the folder
            raise ValueError(f"the file {values['file']!r} is not named by its content, {part.name}")
        return part


@dataclass(frozen=True)
class Segment:
    """The bars of one series that open within `span` (ns), sorted, in one file.

    first, last: stamps of the first and the last of its rows. fingerprint: of the rows, as receipts have it.
    """

    part: Part
    span: Span
    rows: int
    first: int
    last: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        times = {"start": self.span.start, "end": self.span.end, "first": self.first, "last": self.last}
        return {**self.part.to_json(), **times, "rows": self.rows, "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Segment:
        span, rows = Span(_time(values["start"]), _time(values["end"])), _count(values["rows"])
        first, last = _time(values["first"]), _time(values["last"])
        if not span.start <= first <= last < span.end or not rows:
            raise ValueError(f"a segment of {span} says that its rows are from {first} to {last}")
        return cls(Part.from_json(SEGMENTS, values), span, rows, first, last, _text(values["fingerprint"]))


@dataclass(frozen=True)
class SeriesEntry:
    """One series of a snapshot. segments: in order of time, disjoint.

    answers: a file of its coverage records; None if nobody was ever asked. records: how many. reports: a file
    of its reports and of the warnings that were accepted; None if there are none. schema_id, ruleset: what
    its newest report was made by; None without one.
    """

    series: SeriesId
    segments: tuple[Segment, ...]
    answers: Part | None
    records: int
    facts: SeriesFacts
    reports: Part | None
    schema_id: str | None
    ruleset: str | None

    @property
    def is_known(self) -> bool:
        """Whether anything was: what is accepted alone has no time."""
        return bool(self.segments or self.answers or self.facts != NOTHING_DECLARED)

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)

    @property
    def span(self) -> Span | None:
        """From its first bar to the end of its last; None without bars."""
        if not self.segments:
            return None
        return Span(self.segments[0].first, self.segments[-1].last + self.series.timeframe.step)

    @property
    def fingerprint(self) -> str:
        """Of all its rows: a hash over the ranges and fingerprints of its segments."""
        return _hashed([[s.span.start, s.span.end, s.rows, s.fingerprint] for s in self.segments])

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file that it needs."""
        beside = [part for part in (self.answers, self.reports) if part is not None]
        return (*(segment.part for segment in self.segments), *beside)

    def to_json(self) -> dict[str, Any]:
        return {
            "series": str(self.series),
            "rows": self.rows,
            "start": None if self.span is None else iso(self.span.start),
            "end": None if self.span is None else iso(self.span.end),
            "fingerprint": self.fingerprint,
            "schema_id": self.schema_id,
            "ruleset": self.ruleset,
            "facts": self.facts.to_mapping(),
            "records": self.records,
            "answers": None if self.answers is None else self.answers.to_json(),
            "reports": None if self.reports is None else self.reports.to_json(),
            "segments": [segment.to_json() for segment in self.segments],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SeriesEntry:
        answers, reports = values["answers"], values["reports"]
        entry = cls(
            SeriesId.parse(values["series"]),
            tuple(map(Segment.from_json, values["segments"])),
            None if answers is None else Part.from_json(ANSWERS, answers),
            _count(values["records"]),
            SeriesFacts.from_mapping(values["facts"]),
            None if reports is None else Part.from_json(REPORTS, reports),
            values["schema_id"],
            values["ruleset"],
        )
        for before, after in zip(entry.segments, entry.segments[1:], strict=False):
            if after.span.start < before.span.end:
                raise ValueError(f"segments of {entry.series} overlap at {iso(after.span.start)}")
        if entry.fingerprint != values["fingerprint"] or entry.rows != values["rows"]:
            raise ValueError(f"rows or fingerprint of {entry.series} are not those of its segments")
        return entry


@dataclass(frozen=True)
class Manifest:
    """One snapshot: what a store held at `as_of` (ns), its commit time.

    number: counts the snapshots of one place. id: who wrote it, so that a writer knows its own again after an
    answer that was lost. created_at: in ns. store_id: of the store that it was taken of.
    """

    number: int
    id: str
    created_at: int
    written_by: str
    store_id: str
    as_of: int
    series: tuple[SeriesEntry, ...]

    @property
    def name(self) -> str:
        return manifest_name(self.number)

    @property
    def fingerprint(self) -> str:
        """Of all its series."""
        return _hashed([[str(entry.series), entry.fingerprint] for entry in self.series])

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.series)

    @property
    def parts(self) -> frozenset[Part]:
        """Every file that it names."""
        return frozenset(part for entry in self.series for part in entry.parts)

    def entry(self, series: SeriesId) -> SeriesEntry:
        """What it says of a series. Raises `InvalidRequestError` if it has none of that name."""
        for entry in self.series:
            if entry.series == series:
                return entry
        raise InvalidRequestError(
            f"the snapshot {self.number} has no such series",
            series=series,
            why=f"it has {len(self.series):,}, such as {self.series[0].series}" if self.series else None,
            next_step="`qmtl snapshot list` tells which it has",
        )

    def to_bytes(self) -> bytes:
        """The file: JSON, with a checksum over all else that it says."""
        body = {
            "what": WHAT,
            "format": FORMAT,
            "number": self.number,
            "id": self.id,
            "written_by": self.written_by,
            "created_at": self.created_at,
            "store_id": self.store_id,
            "as_of": self.as_of,
            "as_of_iso": iso(self.as_of),
            "fingerprint": self.fingerprint,
            "series": [entry.to_json() for entry in self.series],
        }
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes, number: int, place: str) -> Manifest:
        """Read the file of that number. place: where the snapshot is, for errors.

        Raises `StoreCorruptError` for a file that is damaged or is none of ours, and `InvalidRequestError`
        for one of a newer format.
        """
        try:
            values = json.loads(data)
            if values["what"] != WHAT:
                raise ValueError(f"it is a {values['what']}")
            form = _count(values["format"])
        except _UNUSABLE as error:
            raise _damaged(number, place, error) from error
        if form > FORMAT:
            raise InvalidRequestError(
                f"the snapshot {number} at {place} has format {form}, and this qmtl reads up to {FORMAT}",
                why=f"it was written by {values.get('written_by')}",
                next_step="read it with that version of qmtl, or a newer one",
            )
        try:
            checksum = values.pop("checksum")
            if checksum != _checksum(values):
                raise ValueError("its checksum is not that of what it says")
            manifest = cls(
                _count(values["number"]),
                _text(values["id"]),
                _time(values["created_at"]),
                _text(values["written_by"]),
                _text(values["store_id"]),
                _time(values["as_of"]),
                tuple(map(SeriesEntry.from_json, values["series"])),
            )
            if manifest.number != number or manifest.fingerprint != values["fingerprint"]:
                raise ValueError("its number or fingerprint is not its own")
        except _UNUSABLE as error:
            raise _damaged(number, place, error) from error
        return manifest


# What a file may raise that is not as we write it.
_UNUSABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, QmtlError)


def _damaged(number: int, place: str, error: Exception) -> StoreCorruptError:
    return StoreCorruptError(
        f"the manifest {manifest_name(number)} is damaged, or none of a snapshot",
        path=place,
        why=f"it has no {error}" if isinstance(error, KeyError) else str(error),
        next_step="put a good copy of this file in its place, or name another snapshot",
    )


def manifest_name(number: int) -> str:
    return f"{MANIFESTS}{number:08}.json"


def manifest_number(name: str) -> int | None:
    """The number of a manifest by its file; None of any other file."""
    found = _MANIFEST.fullmatch(name)
    return int(found[1]) if found else None


def part_of(kind: str, data: bytes) -> Part:
    """The file that has this content."""
    return Part(kind, sha256(data).hexdigest(), len(data))


def _checksum(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _hashed(values: list[list[Any]]) -> str:
    return f"sha256:{sha256(json.dumps(values, separators=(',', ':')).encode()).hexdigest()}"


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _time(value: Any) -> int:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value!r} is no time in nanoseconds")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if pattern.fullmatch(_text(value)) is None:
        raise ValueError(f"{value!r} is not of the form {pattern.pattern}")
    return str(value)
