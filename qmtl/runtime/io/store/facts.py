"""Declared facts of series, versioned like data."""

from __future__ import annotations

import dataclasses
import json

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import EARLIEST, LATEST
from qmtl.runtime.io.store.schema import LIVE
from qmtl.runtime.io.store.writer import Transaction


def declare(transaction: Transaction, facts: SeriesFacts) -> None:
    """Replace what is declared. Facts bear on every bar, so the commit touches all of time."""
    transaction.connection.execute(
        "UPDATE facts SET tx_to = ? WHERE series = ? AND tx_to = ?",
        (transaction.tx, transaction.number, LIVE),
    )
    transaction.connection.execute(
        "INSERT INTO facts VALUES (?, ?, ?, ?)",
        (transaction.number, transaction.tx, LIVE, json.dumps(dataclasses.asdict(facts), sort_keys=True)),
    )
    transaction.log("declare", Span(EARLIEST, LATEST))
