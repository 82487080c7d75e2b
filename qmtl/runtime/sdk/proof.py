"""What a run was given and what came of it, so that somebody else can run it again and compare."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from blake3 import blake3

from qmtl.foundation.html import facts_table
from qmtl.foundation.texts import fact_lines, on_screen
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.version import __version__
from qmtl.foundation.words import counted
from qmtl.runtime.replay.knowledge import Counts
from qmtl.runtime.replay.orders import FillModel
from qmtl.runtime.replay.run import Outcome
from qmtl.runtime.sdk.run_history import Stretch
from qmtl.runtime.sdk.source_text import source_hash

# Of the JSON values of a proof.
FORMAT = 1

# When bars are known to a run: all of one commit from their close on, or each when it was known.
KNOWLEDGE = ("as_of", "as_known")


@dataclass(frozen=True)
class ReadRange:
    """Bars of one series as they were read: fetch them at `as_of` (ns), and the fingerprint is the same."""

    series: str
    span: Span
    fingerprint: str
    as_of: int
    schema_id: str
    passes: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "series": self.series,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "fingerprint": self.fingerprint,
            "as_of": self.as_of,
            "schema_id": self.schema_id,
            "passes": self.passes,
        }


class KnownBars(NamedTuple):
    """When bars were known, and by what that is told.

    mode: "as_of" or "as_known". counts: bars that were known from their delivery on, from a commit on, or by
    assumption from their close on; of "as_known" only. digest: hash of all that was known, and from when on.
    """

    mode: str
    counts: Counts
    digest: str | None

    def to_json(self) -> dict[str, Any]:
        return {"knowledge": self.mode, **self.counts._asdict(), "known": self.digest}


@dataclass(frozen=True)
class Proof:
    """Two runs with equal proofs were given the same bars, and came to the same fills and the same equity.

    strategy: module and name of its class. source: `blake3:` and the hash of the source text of the class,
    module: that of the whole module it stands in, functions beside it included; None where Python has no
    source of it. read: what it was given, in order. outcome: hash of fills, open orders and
    equity. versions: of Python, this package and the libraries that work out nodes.
    """

    strategy: str
    source: str | None
    module: str | None
    span: Span
    fills: FillModel
    seed: int
    read: tuple[ReadRange, ...]
    known: KnownBars
    outcome: str
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; times are ISO 8601 UTC."""
        return {
            "format": FORMAT,
            "strategy": self.strategy,
            "source": self.source,
            "module": self.module,
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            **self.known.to_json(),
            "fills": dataclasses.asdict(self.fills),
            "seed": self.seed,
            "read": [part.to_json() for part in self.read],
            "outcome": self.outcome,
            "versions": self.versions,
        }

    def lines(self) -> list[tuple[str, str]]:
        """What a person reads, a fact a line."""
        series = {part.series for part in self.read}
        commits = sorted({part.as_of for part in self.read})
        unclean = sorted({part.series for part in self.read if not part.passes})
        counts = self.known.counts
        when = (
            f"{counts.delivered:,} bars by delivery, {counts.committed:,} by commit, "
            f"{counts.assumed:,} assumed at their close"
        )
        return [
            ("strategy", self.strategy),
            ("source", self.source or "Python has no source of it"),
            ("module", self.module or "Python has no source of it"),
            ("range", str(self.span)),
            ("read", f"{counted(len(series), 'series', 'series')} in {counted(len(self.read), 'part')}"),
            ("as of", ", ".join(f"{iso(as_of)} ({as_of})" for as_of in commits)),
            ("known", when if self.known.digest else "all bars from their close on, as of that commit"),
            ("findings", f"in {', '.join(unclean)}" if unclean else "none"),
            ("outcome", self.outcome),
            ("versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())),
        ]

    def __repr__(self) -> str:
        return on_screen(fact_lines(self.lines()))

    def _repr_html_(self) -> str:
        return facts_table(self.lines())


def read_ranges(stretch: Stretch) -> list[ReadRange]:
    """What was read at once. Fingerprints are worked out now, so that no rows need to be kept for them."""
    return [
        ReadRange(
            receipt.series.text,
            receipt.span,
            receipt.fingerprint,
            receipt.as_of,
            receipt.schema_id,
            receipt.series.text not in stretch.findings,
        )
        for receipt in stretch.receipts
    ]


def proof_of(
    strategy: object,
    span: Span,
    model: FillModel,
    seed: int,
    read: Sequence[ReadRange],
    known: KnownBars,
    outcome: Outcome,
) -> Proof:
    """The proof of a run that has ended."""
    kind = type(strategy)
    source = source_hash(kind)
    return Proof(
        strategy_name(kind),
        source,
        source and source_hash(sys.modules[kind.__module__]),
        span,
        model,
        seed,
        tuple(read),
        known,
        _outcome_hash(outcome),
        package_versions(),
    )


def strategy_name(kind: type) -> str:
    """Its module and its name."""
    return f"{kind.__module__}:{kind.__qualname__}"


def package_versions() -> dict[str, str]:
    """Of what works out a run."""
    return {
        "python": platform.python_version(),
        "qmtl": __version__,
        "polars": pl.__version__,
        "numpy": np.__version__,
    }


def _outcome_hash(outcome: Outcome) -> str:
    """Of every digit: floats by their bits, in the order of events."""
    hasher = blake3()
    for fill in outcome.fills:
        numbers = np.array([*fill[2:]], dtype="<f8").tobytes()
        hasher.update(f"fill {fill.series} {fill.ts} ".encode() + numbers)
    for order in outcome.open_orders:
        hasher.update(f"order {order.series} {order.made} ".encode() + np.array(order.units, "<f8").tobytes())
    for column in outcome.marks:
        hasher.update(np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<")).tobytes())
    return f"blake3:{hasher.hexdigest()}"
