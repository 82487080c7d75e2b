"""What a backfill has done so far, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import polars as pl

from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.runtime.conformance.findings import Finding

if TYPE_CHECKING:
    import asyncio


class LostHolder(NamedTuple):
    """Somebody whom a backfill waited for has ended before the shard was completed.

    noticed_at: ns. left: bars of the shard that are wanted, and that nobody has answered for yet; they are
    asked for anew, by `by`, or by this backfill itself, where that is None.
    """

    lease_key: str
    holder: str
    why: str
    noticed_at: int
    left: int
    by: str | None

    def __str__(self) -> str:
        return f"{self.holder} has ended: {self.why}; {self.by or 'this process'} asks for what is left"


class Progress(NamedTuple):
    """How far one backfill is: bars answered for, of bars asked for, by itself or others it waits for.

    lost: said once, of each holder that was waited for in vain.
    """

    series: SeriesId
    done: int
    total: int
    lost: LostHolder | None = None


class OnProgress(Protocol):
    def __call__(self, progress: Progress) -> None: ...


class ReadAt(NamedTuple):
    """The newest commit at the time of a read: its number, and its time in ns."""

    tx: int
    as_of: int


NEVER_READ = ReadAt(-1, 0)


class Stoppable(Protocol):
    """Work that can be asked to keep what has come, and to end."""

    @property
    def is_saving(self) -> bool: ...

    def stop(self) -> asyncio.Future[Any] | None: ...


@dataclass
class BackfillResult:
    """What a backfill did; filled while it runs, so that one that is cancelled has a result too.

    asked: each question put to the vendor. with_row: bars for which the vendor gave a row, possible or not.
    refused: bars whose rows were all impossible, or differed.
    replaced: rows that changed, per commit, as `Commit.replaced`. waited_for: how often all that was left was
    held by others. abandoned: whether the vendor ignored its cancellation, and was left behind.
    uncoordinated: why other machines may have asked for the same bars, although there is a coordinator.
    at_risk: why a loss of power may take what was committed, see `Commit`.
    """

    source: str
    asked: list[Span] = field(default_factory=list)
    answered: Coverage = EMPTY
    with_row: Coverage = EMPTY
    refused: Coverage = EMPTY
    added: int = 0
    replaced: list[pl.DataFrame] = field(default_factory=list)
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list)
    waited_for: int = 0
    stopped: bool = False
    abandoned: bool = False
    uncoordinated: str | None = None
    at_risk: str | None = None
    as_of: int = 0  # of the newest commit
    under_way: Stoppable | None = None

    @property
    def is_saving(self) -> bool:
        """Whether it was cancelled, and waits for its last commit."""
        return self.under_way is not None and self.under_way.is_saving

    def stop(self) -> asyncio.Future[Any] | None:
        """Keep what has come, and take nothing more, even if the vendor ignores its cancellation.

        The future is done once the commit under way has ended and the shards are free; None if nothing is
        under way.
        """
        self.stopped = True
        return None if self.under_way is None else self.under_way.stop()
