"""The audit log as values: each entry holds the hash of the one before, so that no change goes unseen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, NamedTuple

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.words import counted

# What the first entry names as the hash before it.
NOTHING_BEFORE = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, before it has a place in the log.

    action: register, promote, rollback, tombstone, note, ...
    bundle, bundle_sha256: the folder of the schemas in force, and its computed fingerprint.
    evidence: JSON values: window, counts, reasons.
    """

    action: str
    subject: str | None = None
    version: int | None = None
    bundle: str | None = None
    bundle_sha256: str | None = None
    note: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `at` is ISO 8601 UTC; `previous` and `hash` are SHA-256, hexadecimal."""

    number: int
    at: str
    action: str
    subject: str | None
    version: int | None
    bundle: str | None
    bundle_sha256: str | None
    note: str
    evidence: Mapping[str, Any]
    previous: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @property
    def line(self) -> bytes:
        """The only way to write it, with its line end."""
        return f"{_text(self.to_json())}\n".encode("ascii")


class Anchor(NamedTuple):
    """Where the log ended once; stored outside the log, it shows whether the end was cut off or rewritten."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """From NUMBER:HASH, as it is printed."""
        number, _, digest = text.strip().partition(":")
        if not (number.isascii() and number.isdecimal() and len(digest) == 64):
            raise InvalidRequestError(
                f"{text!r} is not the head of an audit log",
                next_step="give NUMBER:HASH, as 'qmtl schema audit show' prints it",
            )
        return cls(int(number), digest.lower())


def _text(values: Mapping[str, Any]) -> str:
    # Round trip first: only what JSON can hold is signed, and keys inside the evidence are sorted.
    evidence = json.loads(json.dumps(values["evidence"], sort_keys=True, allow_nan=False))
    return json.dumps({**values, "evidence": evidence}, separators=(",", ":"), allow_nan=False)


def seal(event: Event, at: str, before: Entry | None) -> Entry:
    """The entry that follows `before`."""
    number, previous = (1, NOTHING_BEFORE) if before is None else (before.number + 1, before.hash)
    values = {one.name: getattr(event, one.name) for one in fields(event)}
    # The entry equals what is read back: tuples become lists now, not when the log is read again.
    values["evidence"] = json.loads(json.dumps(event.evidence, sort_keys=True, allow_nan=False))
    unsealed = Entry(number=number, at=at, previous=previous, hash="", **values)
    return Entry(**{**unsealed.to_json(), "hash": digest(unsealed)})


def digest(entry: Entry) -> str:
    """The hash that belongs to all the rest of an entry."""
    rest = entry.to_json()
    del rest["hash"]
    return sha256(_text(rest).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the bytes of a log say. `torn` stands after the last line end: an append that broke off."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    torn: bytes


def read(data: bytes) -> Reading:
    """Every line against its own hash and against the line before; all problems, not the first alone."""
    *lines, torn = data.split(b"\n")
    entries: list[Entry] = []
    problems: list[str] = []
    before: Entry | None = None
    for place, line in enumerate(lines, 1):
        try:
            entry = _entry(line)
        except (ValueError, TypeError, RecursionError) as failure:
            problems.append(f"line {place} is no entry: {failure}")
            continue
        if entry.hash != digest(entry):
            problems.append(f"line {place}: entry {entry.number} was edited; it does not match its hash")
        expected = (1, NOTHING_BEFORE) if before is None else (before.number + 1, before.hash)
        if (entry.number, entry.previous) != expected:
            after = "the beginning of the log" if before is None else f"entry {before.number}"
            problems.append(
                f"line {place}: entry {entry.number} does not follow {after}; "
                "something was removed, inserted, moved or rewritten"
            )
        entries.append(entry)
        before = entry
    return Reading(tuple(entries), tuple(problems), torn)


def _entry(line: bytes) -> Entry:
    values = json.loads(line)
    names = {one.name for one in fields(Entry)}
    if not isinstance(values, dict) or set(values) != names:
        raise ValueError(f"it must be an object with exactly {', '.join(sorted(names))}")
    if type(values["number"]) is not int or not isinstance(values["evidence"], dict):
        raise ValueError("its number or its evidence is of a wrong type")
    entry = Entry(**values)
    if entry.line != line + b"\n":
        raise ValueError("it is not written the way that entries are written")
    return entry


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of checking a log. `anchor` is the newest one that it was compared with, or None."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    torn: bytes
    anchor: Anchor | None

    @property
    def is_intact(self) -> bool:
        return not self.problems and not self.torn

    @property
    def head(self) -> Anchor | None:
        """What to keep elsewhere; None for an empty log."""
        return Anchor(self.entries[-1].number, self.entries[-1].hash) if self.entries else None

    @property
    def conclusion(self) -> str:
        """One line for people."""
        if self.problems:
            return f"broken: {counted(len(self.problems), 'problem')}"
        if self.torn:
            return f"the last line is torn: {counted(len(self.torn), 'byte')} of an append that broke off"
        if self.anchor is None:
            return "chain intact, end not anchored"
        later = len(self.entries) - self.anchor.number
        if not later:
            return f"chain intact, end anchored at entry {self.anchor.number}"
        return f"chain intact, anchored up to entry {self.anchor.number}; {later} later not anchored"


def verify(reading: Reading, anchors: Iterable[Anchor] = ()) -> Verification:
    """Check a log against all that is known of its earlier ends."""
    problems = list(reading.problems)
    known = sorted(set(anchors))
    # Only lines whose own chain holds can be compared with an anchor by their number.
    by_number = {entry.number: entry.hash for entry in reading.entries}
    last = reading.entries[-1].number if reading.entries else 0
    for anchor in known:
        if anchor.number > last:
            problems.append(
                f"the log ends with entry {last}, but had reached entry {anchor.number}; its end was cut off"
            )
        elif by_number.get(anchor.number) != anchor.hash:
            problems.append(
                f"entry {anchor.number} is not the one that was anchored; "
                "the log was rewritten or replaced by another"
            )
    return Verification(reading.entries, tuple(problems), reading.torn, known[-1] if known else None)
