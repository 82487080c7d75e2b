"""The chain of the audit log: no single change of it goes unseen, and nothing that is whole is blamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.schema.governance.audit import Anchor, Entry, Event, digest, read, seal, verify
from qmtl.foundation.times import iso

EVIDENCE = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    max_size=3,
)
EVENTS = st.builds(
    Event,
    action=st.sampled_from(["note", "promote", "rollback", "tombstone"]),
    subject=st.none() | st.text(max_size=8),
    version=st.none() | st.integers(1, 9),
    bundle=st.none() | st.just("schemas/v1"),
    bundle_sha256=st.none() | st.just(sha256(b"").hexdigest()),
    note=st.text(max_size=8),
    evidence=EVIDENCE,
)


def chained(events: list[Event], start: int = 0) -> list[Entry]:
    entries: list[Entry] = []
    for number, event in enumerate(events):
        entries.append(seal(event, iso(start + number), entries[-1] if entries else None))
    return entries


LOGS = st.lists(EVENTS, min_size=1, max_size=6).map(chained)


def data_of(entries: list[Entry]) -> bytes:
    return b"".join(entry.line for entry in entries)


def end_of(entries: list[Entry]) -> Anchor:
    return Anchor(entries[-1].number, entries[-1].hash)


@given(LOGS)
def test_what_was_appended_is_read_again_and_holds(entries: list[Entry]) -> None:
    found = verify(read(data_of(entries)), [end_of(entries)])
    assert found.entries == tuple(entries)
    assert found.is_intact
    assert found.conclusion == f"chain intact, end anchored at entry {len(entries)}"
    assert found.head == end_of(entries)


@given(LOGS)
def test_the_hashes_are_those_of_an_independent_reading(entries: list[Entry]) -> None:
    for before, entry in pairwise([None, *entries]):
        assert entry is not None
        text = entry.line.rstrip(b"\n")
        cut = text.rindex(b',"hash":')
        assert sha256(text[:cut] + b"}").hexdigest() == entry.hash
        assert entry.previous == ("0" * 64 if before is None else before.hash)


@given(LOGS, st.data())
def test_every_single_changed_byte_is_found_without_an_anchor(entries: list[Entry], data: Any) -> None:
    whole = data_of(entries)
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    edited = whole[:place] + bytes([other]) + whole[place + 1 :]
    assert not verify(read(edited)).is_intact


@given(LOGS, st.data())
def test_every_inserted_or_removed_byte_is_found_without_an_anchor(entries: list[Entry], data: Any) -> None:
    whole = data_of(entries)
    place = data.draw(st.integers(0, len(whole) - 1))
    assert not verify(read(whole[:place] + whole[place + 1 :])).is_intact
    byte = data.draw(st.binary(min_size=1, max_size=1))
    assert not verify(read(whole[:place] + byte + whole[place:])).is_intact


def changed_lines(kind: str, lines: list[bytes], at: int, to: int) -> list[bytes]:
    match kind:
        case "removed":
            return lines[:at] + lines[at + 1 :]
        case "repeated":
            return [*lines[: at + 1], lines[at], *lines[at + 1 :]]
        case "swapped":
            lines[at], lines[to] = lines[to], lines[at]
            return lines
        case "moved":
            line = lines.pop(at)
            return [*lines[:to], line, *lines[to:]]
    raise ValueError(kind)


@given(
    st.lists(EVENTS, min_size=2, max_size=6).map(chained),
    st.sampled_from(["removed", "repeated", "swapped", "moved"]),
    st.data(),
)
def test_every_change_of_whole_lines_is_found(entries: list[Entry], kind: str, data: Any) -> None:
    lines = [entry.line for entry in entries]
    at, to = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    changed = changed_lines(kind, list(lines), at, to)
    assume(changed != lines)
    found = verify(read(b"".join(changed)), [end_of(entries)])
    assert not found.is_intact
    if changed != lines[: len(changed)]:  # all but a cut of the end is seen without an anchor, too
        assert not verify(read(b"".join(changed))).is_intact


@given(LOGS, st.data())
def test_a_cut_is_found_by_the_anchor_alone(entries: list[Entry], data: Any) -> None:
    kept = data.draw(st.integers(0, len(entries) - 1))
    cut = data_of(entries[:kept])
    without = verify(read(cut))
    assert without.is_intact
    assert without.conclusion == "chain intact, end not anchored"
    problems = verify(read(cut), [end_of(entries)]).problems
    assert len(problems) == 1
    assert f"ends with entry {kept}, but had reached entry {len(entries)}" in problems[0]


@given(LOGS, st.data())
def test_entries_that_were_cut_and_written_anew_are_found(entries: list[Entry], data: Any) -> None:
    """Somebody who can compute hashes rewrites the log from some entry on."""
    at = data.draw(st.integers(0, len(entries) - 1))
    forged = entries[:at]
    for entry in entries[at:]:
        event = Event(entry.action, entry.subject, entry.version, note=f"{entry.note}!")
        forged.append(seal(event, entry.at, forged[-1] if forged else None))
    assert verify(read(data_of(forged))).is_intact  # the chain itself is faultless
    problems = verify(read(data_of(forged)), [end_of(entries)]).problems
    assert any("rewritten or replaced" in problem for problem in problems)


@given(LOGS, LOGS)
def test_another_log_in_its_place_is_found(entries: list[Entry], others: list[Entry]) -> None:
    assume(entries[-1] not in others)
    assert not verify(read(data_of(others)), [end_of(entries)]).is_intact


@given(st.lists(EVENTS, min_size=2, max_size=6).map(chained), st.data())
def test_a_log_that_went_on_is_intact_and_reported(entries: list[Entry], data: Any) -> None:
    anchored = data.draw(st.integers(1, len(entries) - 1))
    found = verify(read(data_of(entries)), [end_of(entries[:anchored])])
    assert found.is_intact
    later = len(entries) - anchored
    assert found.conclusion == f"chain intact, anchored up to entry {anchored}; {later} later not anchored"


@given(LOGS, st.data())
def test_an_append_that_broke_off_is_distinguished_from_a_change(entries: list[Entry], data: Any) -> None:
    line = entries[-1].line
    torn = data.draw(st.integers(1, len(line) - 1))
    found = verify(read(data_of(entries[:-1]) + line[:torn]))
    assert (found.problems, found.torn, found.is_intact) == ((), line[:torn], False)
    # It had been whole once, so this was no crash.
    assert verify(read(data_of(entries[:-1]) + line[:torn]), [end_of(entries)]).problems


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: replace(entry, number=True),
        lambda entry: replace(entry, number=1.0),
        lambda entry: replace(entry, evidence=[]),
    ],
)
def test_values_of_a_wrong_type_are_no_entry(change: Callable[[Entry], Entry]) -> None:
    [entry] = chained([Event("note")])
    forged = change(entry)
    forged = replace(forged, hash=digest(forged))
    assert any("line 1 is no entry" in problem for problem in read(forged.line).problems)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"number": 1}'])
def test_lines_that_are_no_entries_are_reported_by_their_place(line: bytes) -> None:
    [entry] = chained([Event("note")])
    [problem] = read(entry.line + line + b"\n").problems
    assert problem.startswith("line 2 is no entry")


def test_all_problems_are_reported_at_once() -> None:
    entries = chained([Event("note", note=str(number)) for number in range(6)])
    lines = [entry.line for entry in entries]
    lines[1] = lines[1].replace(b'"note":"1"', b'"note":"x"')
    del lines[3]
    found = verify(read(b"".join(lines)), [end_of(entries), Anchor(9, "0" * 64)])
    assert len(found.problems) == 3
    assert "entry 2 was edited" in found.problems[0]
    assert "entry 5 does not follow entry 3" in found.problems[1]
    assert "had reached entry 9" in found.problems[2]


def test_what_json_cannot_hold_is_not_sealed() -> None:
    with pytest.raises(ValueError):
        seal(Event("note", evidence={"x": float("nan")}), "2026-01-01", None)


@given(st.integers(1, 10**9), st.binary(min_size=32, max_size=32))
def test_a_head_is_read_as_it_is_printed(number: int, hash: bytes) -> None:
    anchor = Anchor(number, hash.hex())
    assert Anchor.parse(str(anchor)) == anchor


@pytest.mark.parametrize("text", ["", "3", "3:", "x:" + "0" * 64, "-3:" + "0" * 64, "3:" + "0" * 63])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        Anchor.parse(text)
