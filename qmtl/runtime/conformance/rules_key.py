"""What flags depend on beside rows and answers, as a short key."""

from __future__ import annotations

from functools import lru_cache

from blake3 import blake3

from qmtl.foundation.calendars import has_identity, identity_of
from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.version import __version__
from qmtl.runtime.conformance.registered_schema import RegisteredSchema
from qmtl.runtime.conformance.rules import Thresholds, ruleset


def rules_key(
    thresholds: Thresholds, grid: Grid, facts: SeriesFacts, schema: RegisteredSchema | None
) -> bytes | None:
    """16 bytes that differ whenever one of these does: thresholds, the code of the rules (by the version of
    the package), calendar (by its version and zone), timeframe, anchor, declared facts, registered schema.

    None for a calendar whose sessions may change without a sign: an object of the user's.
    """
    if not has_identity(grid.calendar):
        return None
    try:
        return _key(thresholds, grid, facts, schema)
    except InvalidRequestError:  # of a calendar that cannot be built; whoever reads it next names the series
        return None


@lru_cache(maxsize=4_096)
def _key(thresholds: Thresholds, grid: Grid, facts: SeriesFacts, schema: RegisteredSchema | None) -> bytes:
    parts = [__version__, ruleset(thresholds), identity_of(grid.calendar), grid.timeframe.text, grid.anchor]
    parts.append(repr(facts.to_mapping()))
    if schema is not None:
        parts.append(repr((schema.subject, schema.version, schema.id, schema.closed, schema.columns)))
    return blake3("\n".join(parts).encode()).digest(16)
