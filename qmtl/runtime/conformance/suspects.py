"""Which stored answers are worth one more request to their source."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.conformance.flags import Flags
from qmtl.runtime.conformance.rules import IS_ERROR


def suspects(flags: Flags, grid: Grid, *, silent: Coverage, recently_queried: Coverage) -> Coverage:
    """Cells of impossible rows, and silences that were not queried recently.

    silent: cells that did not trade although the rhythm of the series makes that implausible.
    recently_queried: where sources have answered within the time for which an absence holds.
    """
    if not flags:
        return EMPTY
    impossible = flags.ts[IS_ERROR[flags.codes]]
    cells = grid.cells(np.unique(impossible)) if len(impossible) else EMPTY
    return cells | (silent - recently_queried)
