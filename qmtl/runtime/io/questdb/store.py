"""A store whose chunks of bars lie in QuestDB, with a catalog of all else that has transactions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, QmtlError, StoreCorruptError, StoreError
from qmtl.foundation.facts import NOTHING_DECLARED, agreed
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.runtime.io.questdb.current import CurrentRows
from qmtl.runtime.io.questdb.restarts import damage_in_newest, start_of, why_at_risk
from qmtl.runtime.io.questdb.rows import QuestDBRows
from qmtl.runtime.io.questdb.state import QuestDBState, state_of
from qmtl.runtime.io.sql import fences
from qmtl.runtime.io.sql.catalogs import FIRST_PLACE, note_start, place_of_rows, put_rows, start_seen
from qmtl.runtime.io.sql.database import Database
from qmtl.runtime.io.sql.plans import FEW
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.io.sql.view import View
from qmtl.runtime.io.store.damage import Damage
from qmtl.runtime.io.store.rows import Rows
from qmtl.runtime.io.store.values import Commit, Retraction, Snapshot, Write

if TYPE_CHECKING:
    from qmtl.runtime.io.sql.compaction import Compaction, Progress
    from qmtl.runtime.io.sql.verify import Verification


_log = logging.getLogger("seamless.store")


class QuestDBStore(KeptStore):
    """A `Store` whose `catalog` was opened with `rows` as the place of its chunks.

    A write is checked against the fences, its chunks are written to QuestDB and read back, and only then does
    the catalog name them, in a transaction that checks the fences once more. So whatever ends in between
    leaves rows that nobody is shown.
    """

    def __init__(
        self, catalog: Database, rows: QuestDBRows, *, clock: Clock, retention: int | None = None
    ) -> None:
        super().__init__(catalog, clock, retention)
        self._hold(rows)

    def _hold(self, rows: QuestDBRows) -> None:
        """Take the tables for those of this catalog, and make them if it is new."""
        self._rows, self._started = rows, 0
        # Where the rows are instead, by the place that a catalog names which only can be read.
        self._left_for: dict[int, int] = {}
        self._current = CurrentRows(self._database, rows)
        with self._database.reading() as connection:
            is_new = connection.execute("SELECT 1 FROM chunk LIMIT 1").fetchone() is None
            rows.table = rows.table.at(place_of_rows(connection) or FIRST_PLACE)
        rows.asks = self._place
        try:
            rows.table.claim(self.store_id, is_new=is_new, read_only=self.read_only)
        except StoreCorruptError:
            if not self._finds_them_elsewhere():
                raise
            rows.table.check()
        try:
            self._current.look_back()
        except QmtlError as failure:
            _log.warning("the view %s is left as it is: %s", self._current.view.name, failure)
        self._look_after_start()

    def _look_after_start(self) -> None:
        """After a start of the server, see whether what was written last is there, and record what is not."""
        if self.read_only:
            return  # what is lost is met by reads; another one records it
        server = self._rows.table.server
        server.is_back = False
        try:
            at, version = start_of(server)
            if at != self._started:
                self._rows.at_risk, self._started = why_at_risk(server, version), at
            with self._database.reading() as connection:
                if start_seen(connection) == at:
                    return
                damage = damage_in_newest(connection)
            self._record(damage)
            with self._database.writing() as connection:
                note_start(connection, at)
                connection.execute("COMMIT")
        except StoreError as failure:
            # Nothing is served unseen, for each read compares checksums. The next write looks again.
            _log.warning("QuestDB was started, and its newest rows could not be verified yet: %s", failure)

    def _place(self) -> int:
        with self._database.reading() as connection:
            place = place_of_rows(connection) or FIRST_PLACE
        return self._left_for.get(place, place)

    def _finds_them_elsewhere(self) -> bool:
        """Whether a catalog that was brought back finds its rows where a later compaction has put them."""
        table = self._rows.table
        places = table.places()
        if len(places) != 1 or table.place in places:
            return False
        if self.read_only:
            self._left_for[table.place] = places[0]  # who may write says so in the catalog
        else:
            with self._database.writing() as connection:
                put_rows(connection, places[0])
                connection.execute("COMMIT")
        self._rows.put(places[0])
        return True

    def _read(self, *asked: Any) -> dict[SeriesId, Snapshot]:
        found = super()._read(*asked)
        if self._rows.table.server.is_back:
            self._look_after_start()
        return found

    def compact(self, *, progress: Progress | None = None) -> Compaction:
        """As that of any store; and drop rows of the table that no commit names, once they are a tenth."""
        from qmtl.runtime.io.questdb.moving import drop_unnamed

        done = super().compact(progress=progress)
        self._follow()
        unnamed, left = drop_unnamed(self._database, self._rows, self._follow)
        return replace(done, unnamed=unnamed, left="; ".join(filter(None, (done.left, left))))

    def questdb(self) -> QuestDBState:
        """What the server of the rows is, and how far it is."""
        self._rows.put(self._place())
        return state_of(self._rows.table, self._current)

    def verify(self, *, progress: Progress | None = None, repair: bool = False) -> Verification:
        """As that of any store. What the catalog no longer knows of its table is told of, and no damage."""
        result = super().verify(progress=progress, repair=repair)
        if not self.read_only:
            self._follow()
        return replace(result, notes=self._current.notes())

    def acknowledge(self) -> int:
        """As that of any store; and tell no more of rows that the catalog does not know."""
        self._current.acknowledge()
        return super().acknowledge()

    def retract(self, series: SeriesId, span: Span, *, reason: str) -> Retraction:
        done = super().retract(series, span, reason=reason)
        self._follow()
        return done

    def _record(self, damage: Sequence[Damage], *, timeout_s: float | None = None) -> None:
        super()._record(damage, timeout_s=timeout_s)
        if damage and timeout_s is None:  # a reader does not wait
            self._follow()

    def _follow(self) -> None:
        """Let the view show what was committed. Where that fails, the next commit does it."""
        try:
            self._current.follow()
        except QmtlError as failure:
            _log.warning("the view %s trails: %s", self._current.view.name, failure)

    @property
    def reads_ahead(self) -> bool:
        return False  # rows come as they are: 8,192 of them in five times and more of what 1,000 take

    @property
    def catalog(self) -> Database:
        """The database of all but its rows, whose connections know where these are."""
        return self._database

    @property
    def table(self) -> str:
        """The name of the table of bars."""
        return self._rows.table.name

    def close(self) -> None:
        self._rows.table.server.close()
        super().close()

    @property
    def location(self) -> str:
        return self._rows.table.server.address.shown

    def _commit(
        self, writes: Mapping[SeriesId, Write], rows: Mapping[SeriesId, Rows]
    ) -> dict[SeriesId, Commit]:
        for series, part in rows.items():
            if part.size and part.ts[0] < 0:
                raise InvalidRequestError(
                    f"a bar of {iso(int(part.ts[0]))} cannot be stored",
                    series=series,
                    why="QuestDB has no times before 1970",
                    next_step="keep such bars in a store of another kind, a folder or PostgreSQL",
                )
        if any(part.size >= FEW for part in rows.values()):
            self._look_after_start()
        with self._database.reading() as connection:
            for series, write in writes.items():
                _refuse(self._view(connection, series), write)
        before = self._rows.writes
        done = super()._commit(writes, rows)
        if self._rows.writes != before:  # single rows lie in the catalog alone
            self._follow()
        return done

    def __repr__(self) -> str:
        return f"QuestDBStore({self.location!r}{', read_only=True' if self.read_only else ''})"


def _refuse(view: View, write: Write) -> None:
    """Refuse before a row is written what the catalog would refuse, see `Transaction.apply`."""
    fences.refuse_stale(view.connection, view.series, view.number or -1, write.fences)
    if write.declared != NOTHING_DECLARED:
        agreed(view.series, [("the store", view.facts()), (f"what {write.source} brings", write.declared)])
