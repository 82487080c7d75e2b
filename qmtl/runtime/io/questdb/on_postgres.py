"""A store whose chunks of bars lie in QuestDB, with its catalog in PostgreSQL: many machines may use it."""

from __future__ import annotations

from qmtl.foundation.clock import Clock
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.questdb.rows import QuestDBRows
from qmtl.runtime.io.questdb.store import QuestDBStore
from qmtl.runtime.io.sql.postgres.store import PostgresStore


class QuestDBOnPostgres(QuestDBStore, PostgresStore):
    """A `QuestDBStore` whose catalog is a schema. Options as those of `PostgresStore`."""

    def __init__(
        self,
        catalog: StoreAddress,
        rows: QuestDBRows,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        retention: int | None = None,
        max_staleness: float = 0.0,
    ) -> None:
        PostgresStore.__init__(
            self,
            catalog,
            read_only=read_only,
            clock=clock,
            retention=retention,
            max_staleness=max_staleness,
            elsewhere=rows,
        )
        try:
            self._hold(rows)
        except BaseException:
            PostgresStore.close(self)
            raise
