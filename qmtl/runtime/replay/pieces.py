"""A part of a run in smaller pieces, between which a run can be kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qmtl.foundation.frames import stamps
from qmtl.runtime.replay.run import Part

_NO_TIMES = np.zeros(0, dtype=np.int64)


def pieces(part: Part, until: int, rows: int) -> Iterator[tuple[Part, int]]:
    """The part cut by time, after every `rows` rows, each piece with the time to which it goes.

    It is cut at the same times whenever it is cut: a run comes to the same end with pieces as with the whole.
    """
    every = np.sort(np.concatenate([_NO_TIMES, *(stamps(frame) for frame in part.rows.values())]))
    edges = [edge for edge in dict.fromkeys(every[rows::rows].tolist()) if edge < until]
    changes, left = list(part.changes), part._replace(changes=())
    for edge in [*edges, until]:
        now = [change for change in changes if change.at <= edge]
        yield left._replace(changes=now), edge
        changes, left = changes[len(now) :], Part({})
