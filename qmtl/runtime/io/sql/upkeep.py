"""The care that a store on an SQL database needs, whichever the engine: verification, compaction, pins."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import StoreCorruptError
from qmtl.foundation.series import SeriesId
from qmtl.runtime.io.sql import commits
from qmtl.runtime.io.sql import repair as repairs
from qmtl.runtime.io.sql.database import Database, committing
from qmtl.runtime.io.sql.repair import Lost
from qmtl.runtime.io.sql.store import SqlStore
from qmtl.runtime.io.store.point_in_time import PIN_NEWEST

if TYPE_CHECKING:
    from qmtl.runtime.io.sql.compaction import Compaction, Progress
    from qmtl.runtime.io.sql.pins import Pin
    from qmtl.runtime.io.sql.verify import Verification

_log = logging.getLogger("seamless.store")

# These methods import what they need themselves: whoever reads or writes bars does not wait for it.


class KeptStore(SqlStore):
    """A store that can be tidied. retention: how many ns of history `compact` keeps; None keeps all."""

    def __init__(self, database: Database, clock: Clock, retention: int | None) -> None:
        super().__init__(database, clock)
        self._retention = retention

    def verify(self, *, progress: Progress | None = None, repair: bool = False) -> Verification:
        """Read every chunk and every single row against its checksum, and the index against both.

        What damage took earlier is reported until it is healed or acknowledged. With `repair`, damage is
        recorded: current ranges become unknown, so that they heal, and reads as of earlier commits
        leave them out. `progress(done, total)` counts chunks.
        """
        result = self._verify(progress)
        if not repair or result.is_readable:
            return result
        if result.problems:
            repairs.rebuild(self._database)
            self._forget_flags()
            result = self._verify(progress)
        self._record(result.damage)
        after = self._verify(None)
        stays = tuple(f"what is damaged in {part.series} could not be recorded" for part in after.damage)
        return replace(result, problems=(*after.problems, *stays), lost=after.lost, repaired=True)

    def _forget_flags(self) -> None:
        """What is out of order may have kept a commit from making flags void."""
        try:
            with self._database.writing() as connection:
                connection.execute("DELETE FROM kept_flags")
                connection.execute("COMMIT")
        except StoreCorruptError:
            _log.warning("the flags that are kept of bars are damaged beyond repair; reads judge bars anew")

    def _verify(self, progress: Progress | None) -> Verification:
        from qmtl.runtime.io.sql import verify as verification

        with self._database.reading() as connection:
            return verification.verify(connection, progress)

    def glance(self) -> Verification:
        """What `verify` would say without reading a bar; damage that nobody has met yet is not in it."""
        from qmtl.runtime.io.sql import verify as verification

        with self._database.reading() as connection:
            return verification.glance(connection)

    def lost(self, series: SeriesId) -> list[Lost]:
        """What damage has taken of a series, and what is neither healed nor acknowledged."""
        with self._database.reading(series) as connection:
            return [one for one in repairs.reported(connection) if one.series == series]

    def acknowledge(self) -> int:
        """Report what was lost no longer; it stays unknown. How many ranges there were."""
        with self._database.reading() as connection:
            known = {one.series for one in repairs.reported(connection)}
        count = 0
        for series in sorted(known, key=str):
            with committing(self._database, series, self._clock.now()) as transaction:
                count += repairs.acknowledge(transaction)
                transaction.keep()
        return count

    def compact(self, *, progress: Progress | None = None) -> Compaction:
        """Fold single rows and small chunks into full ones, and delete what lies behind the retention.

        Others may read and write meanwhile. `progress(done, total)` counts stretches of chunks.
        """
        from qmtl.runtime.io.sql.compaction import compact

        return compact(self._database, self._clock, self._retention, progress)

    def pin(self, name: str, *, as_of: int | None = None) -> Pin:
        """Keep a commit by name (the newest, or that of `as_of`), so that `compact` never sweeps it away.

        Pinning the same again changes nothing. Raises `InvalidRequestError` where the name stands for another
        commit, and as `read` does for a time that cannot be read.
        """
        from qmtl.runtime.io.sql import pins

        with self._database.writing() as connection:
            if as_of is not None:
                self._refuse_out_of_reach(connection, as_of, None, PIN_NEWEST)
            commit = commits.newest(connection) if as_of is None else commits.commit_at(connection, as_of)
            pin = pins.hold(connection, name, commit, self._clock.now())
            connection.execute("COMMIT")
        return pin

    def unpin(self, name: str) -> Pin:
        """Remove a pin; what it was. Raises `InvalidRequestError` if there is none of that name."""
        from qmtl.runtime.io.sql import pins

        with self._database.writing() as connection:
            pin = pins.release(connection, name)
            connection.execute("COMMIT")
        return pin

    def pins(self) -> list[Pin]:
        """All pins, by name."""
        from qmtl.runtime.io.sql import pins

        with self._database.reading() as connection:
            return pins.listed(connection)
