"""Declared facts of series, versioned like data."""

from __future__ import annotations

import json
from typing import Any

from qmtl.foundation.facts import SeriesFacts
from qmtl.runtime.io.sql.dialect import LIVE, Connection
from qmtl.runtime.io.sql.stored_texts import read_text


def encoded(facts: SeriesFacts) -> str:
    """As it is kept: what was declared, and nothing else."""
    return json.dumps({"said": facts.to_mapping()}, sort_keys=True)


def decoded(text: str) -> SeriesFacts:
    """Format 1 kept the defaults beside what was declared, and so does not tell them apart."""
    return read_text(text, "what is declared of the series", _meaning)


def _meaning(kept: dict[str, Any]) -> SeriesFacts:
    if "said" in kept:
        return SeriesFacts.from_mapping(kept["said"])
    defaults = {"calendar": None, "anchor": "clock", "allow_nonpositive": False, "has_volume": True}
    return SeriesFacts.from_mapping({n: v for n, v in kept.items() if v != defaults[n]})


def replace(connection: Connection, number: int, tx: int, facts: SeriesFacts) -> None:
    """Replace what is declared of the series with that row id, from commit `tx` on."""
    connection.execute(
        "UPDATE facts SET tx_to = ? WHERE series = ? AND tx_to = ?",
        (tx, number, LIVE),
    )
    connection.execute(
        "INSERT INTO facts (series, tx_from, tx_to, facts) VALUES (?, ?, ?, ?)",
        (number, tx, LIVE, encoded(facts)),
    )
    proof = connection.dialect.proofs["facts"]
    connection.execute(
        f"UPDATE facts SET crc = {proof} WHERE series = ? AND tx_to IN (?, ?)", (number, tx, LIVE)
    )
