"""What the QuestDB of a store is: how durable what it takes is, and how far it is with it."""

from __future__ import annotations

from dataclasses import dataclass

from qmtl.runtime.io.questdb.current import CurrentRows
from qmtl.runtime.io.questdb.restarts import commit_mode, start_of
from qmtl.runtime.io.questdb.table import BarTable
from qmtl.runtime.io.sql.catalogs import Forgotten


@dataclass(frozen=True)
class QuestDBState:
    """A server, and the table of bars in it.

    commit_mode: of `cairo.commit.mode`; only with "sync" the server waits for the disk. rows: of the table,
    of all versions and of writes that were never completed. behind: transactions that it has taken, and not
    shown yet. suspended_why: why it shows no more of them; None if it does. table: its name, which is another
    one after a compaction that has dropped rows. view: the name of that of the bars that hold; trails_by: how
    many commits it does not show yet, None where there is none that follows the catalog. forgotten: rows of
    commits that the catalog does not have, for it is older than the table. pg_trouble: why few bars do not
    come by `pg=` of the address; None where they do, or where it names none.
    """

    version: str
    commit_mode: str
    rows: int
    bytes: int
    behind: int
    suspended_why: str | None
    table: str
    view: str
    trails_by: int | None
    forgotten: Forgotten | None = None
    pg_trouble: str | None = None

    @property
    def waits_for_disk(self) -> bool:
        return self.commit_mode == "sync"


def state_of(table: BarTable, current: CurrentRows) -> QuestDBState:
    """Asked anew. Raises `StoreError` where the server does not answer, or the table is gone."""
    ask = table.server.query
    size = ask(f"SELECT rowCount, diskSize FROM table_storage() WHERE tableName = '{table.name}'")
    now = table.progress()
    rows, used = size[0] if size else (0, 0)
    return QuestDBState(
        version=start_of(table.server).version,
        commit_mode=commit_mode(table.server),
        rows=int(rows),
        bytes=int(used),
        behind=now.written - now.applied,
        suspended_why=(now.why or "it gives no reason") if now.is_suspended else None,
        table=table.name,
        view=current.view.name,
        trails_by=current.trails_by(),
        forgotten=current.forgotten(),
        pg_trouble=table.server.pg_trouble(),
    )
