"""Every field of a proof is compared, repeated, or told; none is passed over."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from qmtl import (
    Bar,
    Portfolio,
    ProofError,
    QmtlError,
    Runner,
    SeamlessDataProvider,
    Span,
    Strategy,
    StreamInput,
)
from qmtl import import_frame as import_bars
from qmtl.foundation.times import HOUR, iso, to_ns
from qmtl.runtime.sdk.proof import Proof
from qmtl.runtime.sdk.proof_check import differences, first_few
from qmtl.runtime.sdk.proof_reading import read_proof
from qmtl.runtime.testing import synthetic_bars
from tests.qmtl.runtime.sdk.test_proof_reading import changed, leaves

A = "ohlcv:mine:A:1h"
START = to_ns("2024-03-01")


class Drawing(Strategy):
    """Its fills depend on fees, on the seed, on the price of fills, and on the cash."""

    price = StreamInput(A, window=3)

    def on_bar(self, bar: Bar, portfolio: Portfolio) -> None:
        portfolio.target(bar.series, float(self.random.random()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proofs") / "bars"
    import_bars(folder, synthetic_bars(A, Span(START - 48 * HOUR, START + 48 * HOUR)), A)
    return folder


def proof_of(store: Path, knowledge: str) -> Proof:
    with SeamlessDataProvider(store, vendors={}) as history:
        return Runner.submit(
            Drawing, history_provider=history, start=START, end=START + 24 * HOUR, seed=3, knowledge=knowledge
        ).proof


def other(value: Any) -> Any:
    """A value of the same kind that is as possible."""
    known = {"as_of": "as_known", "as_known": "as_of", "next_open": "close", "fractional": "integer"}
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str) and value[:5] in ("2024-", "2023-"):
        return iso(to_ns(value) + HOUR)
    return "changed" if value is None else known.get(value, f"{value}0")


# What may differ where the same bars led to the same end: findings that are no more, too.
TOLD = {"versions", "schema_id", "passes"}


@pytest.mark.parametrize("knowledge", ["as_of", "as_known"])
def test_no_field_of_a_proof_can_be_changed_unnoticed(store: Path, knowledge: str) -> None:
    values = json.loads(json.dumps(proof_of(store, knowledge).to_json()))
    verified = []
    with SeamlessDataProvider(store, vendors={}) as history:
        Runner.verify(values, Drawing, history_provider=history)
        for at in leaves(values):
            forged = changed(values, at, other(_at(values, at)))
            try:
                found = Runner.verify(forged, Drawing, history_provider=history).proof
            except QmtlError:  # refused, or refuted
                continue
            verified.append(at)
            assert differences(read_proof(forged), found).told, at
    assert {str(at[0]) if at[0] != "read" else str(at[-1]) for at in verified} == TOLD


def _at(values: Any, at: tuple[str | int, ...]) -> Any:
    for step in at:
        values = values[step]
    return values


def test_what_is_told_refutes_nothing_and_findings_refute_one_way(store: Path) -> None:
    proof = proof_of(store, "as_of")
    [first, *rest] = proof.read
    unclean = dataclasses.replace(proof, read=(dataclasses.replace(first, passes=False), *rest))
    assert differences(proof, proof) == ([], [])
    assert differences(unclean, proof) == (
        [],
        [f"{A} {first.span} has findings in the proof, none that raises now"],
    )
    assert differences(proof, unclean) == ([f"{A} {first.span} has findings now, none in the proof"], [])
    schema = dataclasses.replace(proof, read=(dataclasses.replace(first, schema_id="ohlcv:7"), *rest))
    [told] = differences(schema, proof).told
    assert told == f"{A} {first.span} is checked by {first.schema_id} now, ohlcv:7 in the proof"


def test_versions_are_told_or_are_the_reason(store: Path) -> None:
    proof = proof_of(store, "as_of")
    for versions in ({}, {**proof.versions, "numpy": "0.1"}, {**proof.versions, "scipy": "1"}):
        of_then = dataclasses.replace(proof, versions=versions)
        assert len(differences(of_then, proof).told) in (1, 4)
        both = dataclasses.replace(of_then, outcome="blake3:other")
        refuting, told = differences(both, proof)
        assert not told
        assert refuting[-1] == f"outcome: {proof.outcome} now, blake3:other in the proof"
        assert len(refuting) in (2, 5)


def test_what_was_read_is_compared_range_by_range(store: Path) -> None:
    proof = proof_of(store, "as_of")
    assert len(proof.read) == 2
    turned = dataclasses.replace(proof, read=proof.read[::-1])
    assert differences(turned, proof).refuting == ["read: the same ranges, in another order"]
    twice = dataclasses.replace(proof, read=(*proof.read, proof.read[0]))
    assert differences(twice, proof).refuting == [f"{A} {proof.read[0].span} is not read now"]
    less = dataclasses.replace(proof, read=proof.read[:1])
    assert differences(less, proof).refuting == [f"{A} {proof.read[1].span} is not in the proof"]


def test_a_module_that_a_proof_does_not_name_is_told(store: Path) -> None:
    proof = proof_of(store, "as_of")
    assert differences(dataclasses.replace(proof, module=None), proof) == (
        [],
        [f"module: {proof.module} now, not in the proof"],
    )
    assert differences(proof, dataclasses.replace(proof, module=None)).refuting


def test_a_message_names_a_few() -> None:
    assert first_few(list("abc")) == ["a", "b", "c"]
    assert first_few(list("abcdefgh")) == ["a", "b", "c", "d", "e", "and 3 more differences"]


def test_a_proof_that_does_not_hold_raises(store: Path) -> None:
    forged = dataclasses.replace(proof_of(store, "as_of"), outcome="blake3:other")
    with SeamlessDataProvider(store, vendors={}) as history, pytest.raises(ProofError, match="blake3:other"):
        Runner.verify(forged, Drawing, history_provider=history)
