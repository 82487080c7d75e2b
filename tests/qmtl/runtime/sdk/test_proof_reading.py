"""A proof that lacks a field, has one more, or a value of another kind, is refused with its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qmtl import FillModel, InvalidRequestError, Span
from qmtl.foundation.times import to_ns
from qmtl.runtime.replay.knowledge import Counts
from qmtl.runtime.sdk.proof import KnownBars, Proof, ReadRange
from qmtl.runtime.sdk.proof_reading import proof_values, read_proof, submitted_values

SPAN = Span(to_ns("2024-03-01"), to_ns("2024-03-02"))
PROOF = Proof(
    strategy="cross:Cross",
    source="blake3:a",
    module="blake3:b",
    span=SPAN,
    fills=FillModel(fee_bps=5.0),
    seed=3,
    read=(ReadRange("ohlcv:mine:A:1m", SPAN, "blake3:c", 17, "unknown", True),),
    known=KnownBars("as_known", Counts(1, 2, 3), "blake3:d"),
    outcome="blake3:e",
    versions={"python": "3.11.7"},
)


def leaves(values: Any, *at: str | int) -> list[tuple[str | int, ...]]:
    """The way to each value that is no object and no list."""
    if isinstance(values, dict):
        return [one for name, value in values.items() for one in leaves(value, *at, name)]
    if isinstance(values, list):
        return [one for place, value in enumerate(values) for one in leaves(value, *at, place)]
    return [at]


def changed(values: Any, at: tuple[str | int, ...], to: Any) -> Any:
    """A copy with another value in one place; `...` leaves it out."""
    copy = json.loads(json.dumps(values))
    part = copy
    for step in at[:-1]:
        part = part[step]
    if to is ...:
        del part[at[-1]]
    else:
        part[at[-1]] = to
    return copy


VALUES = PROOF.to_json()


def test_a_proof_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps({**VALUES, "submitted": {"strategy": "cross.py"}}))
    for source in (PROOF, VALUES, file, str(file)):
        assert read_proof(source) == PROOF


@pytest.mark.parametrize("at", leaves(VALUES), ids=str)
def test_each_field_has_to_be_there_and_of_its_kind(at: tuple[str | int, ...]) -> None:
    for to in (..., [], {"a": 1}, -1.5, float("nan")):
        if (to, at[-1]) == (..., "module") or (to is ... and at[0] == "versions"):
            continue  # a proof of before; a version less is compared
        with pytest.raises(InvalidRequestError) as caught:
            read_proof(changed(VALUES, at, to))
        name = "format" if at == ("format",) else str(at[-1])
        assert name in str(caught.value), (to, str(caught.value))


@pytest.mark.parametrize(
    ("at", "to", "says"),
    [
        (("knowledge",), "as_o0", "knowledge: 'as_o0' is none of as_of, as_known"),
        (("seed",), True, "seed: True is no whole number"),
        (("seed",), -1, "seed: -1 is no whole number"),
        (("assumed",), "3", "assumed: '3' is no whole number"),
        (("start",), "yesterday", "'yesterday'"),
        (("start",), "2024-03-05", "end: '2024-03-02' comes before the start"),
        (("fills", "price"), "mid", "price='mid' is not known"),
        (("fills", "cash"), -1, "cash=-1 cannot be used"),
        (("fills", "spread"), 1, "fills.spread is not known"),
        (("note",), "mine", "note is not known"),
        (("read", 0, "note"), "mine", "read[0].note is not known"),
        (("read", 0), 5, "read[0]: 5 is no range that was read"),
        (("read", 0, "passes"), 1, "read[0].passes: 1 is not what a proof has there"),
        (("versions", "python"), 3, "versions.python: 3 is not what a proof has there"),
        (("format",), True, "the format True"),
    ],
)
def test_what_is_not_understood_is_refused(at: tuple[str | int, ...], to: Any, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_proof(changed(VALUES, at, to))
    assert says in str(caught.value)


def test_a_proof_of_before_names_no_module() -> None:
    assert read_proof(changed(VALUES, ("module",), ...)).module is None


@pytest.mark.parametrize("of", [5, None, True, b"{}", [VALUES]])
def test_what_holds_no_proof_is_refused(of: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is no proof"):
        read_proof(of)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff", "[]", "5"])
def test_a_file_that_holds_no_proof_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "proof.json"
    file.write_bytes(text.encode("latin-1"))
    for place in (file, tmp_path, tmp_path / "none.json"):
        with pytest.raises(InvalidRequestError):
            proof_values(place)


@pytest.mark.parametrize("submitted", [5, ["cross.py"], {"strategy": 5}, {"world": ["a"]}, "cross.py"])
def test_what_was_submitted_is_checked_as_well(submitted: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is not what was submitted"):
        submitted_values(Path("proof.json"), {"submitted": submitted})
