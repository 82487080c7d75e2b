"""What the names mean that a preset or a world chooses its policies by: tables, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

from qmtl.foundation.sla import SLAPolicy
from qmtl.runtime.planning.request import OnFindings


class SLAPreset(NamedTuple):
    """Budgets and bounds of each fetch, and whether holes are answered instead of raised.

    Where holes are answered, one series that fails does not stop the others of its preset either.
    """

    policy: SLAPolicy
    partial_ok: bool
    meaning: str


_BUDGETS = {"storage_wait": "10s", "backfill_wait": "60s", "total": "90s", "sync_gap": 10_000}

SLA_PRESETS = {
    "baseline": SLAPreset(
        SLAPolicy.from_mapping({**_BUDGETS, "on_breach": "raise"}),
        partial_ok=False,
        meaning="budgets that raise; more than 10,000 missing bars are for `qmtl world apply`",
    ),
    "tolerant-partial": SLAPreset(
        SLAPolicy.from_mapping({**_BUDGETS, "on_breach": "partial"}),
        partial_ok=True,
        meaning="the same budgets; what there is by then is answered, holes included",
    ),
    "permissive": SLAPreset(
        SLAPolicy(on_breach="partial"),
        partial_ok=True,
        meaning="no budgets; holes are answered",
    ),
}


class ConformancePreset(NamedTuple):
    """What warnings and errors of conformance do to an answer; reports are made and archived under each."""

    on_findings: OnFindings
    meaning: str


CONFORMANCE_PRESETS = {
    "strict-blocking": ConformancePreset("raise", "warnings and errors that nobody has accepted raise"),
    "warn-only": ConformancePreset("report", "nothing raises; they are violations in the receipt"),
    "observe": ConformancePreset("observe", "nothing raises; they are in the archived report alone"),
}


class BackfillMode(NamedTuple):
    """The strategy by which an input of the preset fetches what is missing."""

    strategy: str
    meaning: str


BACKFILL_MODES = {
    "foreground": BackfillMode("SEAMLESS", "what is missing is fetched within the request"),
    "background": BackfillMode("PARTIAL_FILL", "what is stored is answered, and holes are filled behind it"),
    "never": BackfillMode("FAIL_FAST", "only what is stored is answered; no vendor is asked"),
}
