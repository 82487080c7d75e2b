"""One request on its way: what to do next, and what an answer changes. Pure.

    session = open_session(request, grid)
    while not isinstance(step := next_step(session), Finish):
        session = advance(session, perform(step))

The shell performs a step and tells what happened as an event; nothing here waits, reads or asks the time.

    CACHE --> STORAGE --> sync gap? --> BACKFILL --> STORAGE again --> LIVE --> STORAGE again --> Finish

A tier is passed over when nothing is missing. After a tier that changes the store, the store is read anew, so
that an answer always is what the store holds.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.runtime.planning.ledger import NOTHING_SPENT, PHASE_OF, Ledger
from qmtl.runtime.planning.request import Request, Tier


class Breach(NamedTuple):
    """A budget that is spent (`budget_s`, `elapsed_s`) or a bound that is passed (`limit`, `observed`)."""

    phase: str
    budget_s: float | None = None
    elapsed_s: float | None = None
    limit: float | None = None
    observed: float | None = None


class Ask(NamedTuple):
    """Perform: seek the answer in `tier`: the cache and the store for the whole span, others for `cells`."""

    tier: Tier
    cells: Coverage = EMPTY


class Finish(NamedTuple):
    """Perform: answer, or raise. `behind` is what a PARTIAL_FILL asks for after the answer."""

    breach: Breach | None
    failure: QmtlError | None
    holes: Coverage
    behind: Coverage


Step = Ask | Finish


class Found(NamedTuple):
    """The cache or the store answered the whole span.

    unknown / absent: cells without an answer, and cells that a source has not. suspects: cells whose stored
    answer is impossible or implausible, to be asked for once more.
    """

    tier: Tier
    unknown: Coverage
    absent: Coverage
    suspects: Coverage
    seconds: float


class NotThere(NamedTuple):
    """The cache does not hold the whole span."""

    tier: Tier
    seconds: float


class Filled(NamedTuple):
    """A vendor or a feed has had its turn, and what it brought is stored; or a budget ended a step.

    asked_again: cells that had an answer, and for which the vendor was asked once more.
    """

    tier: Tier
    seconds: float
    failure: QmtlError | None = None
    breach: Breach | None = None
    asked_again: Coverage = EMPTY


Event = Found | NotThere | Filled


class Session(NamedTuple):
    """All that is known of a request so far. `tiers` are those still to come, the next one first.

    `found_unknown` is None until the cache or the store has answered: then all of it is unknown.
    """

    request: Request
    grid: Grid
    tiers: tuple[Tier, ...]
    ledger: Ledger = NOTHING_SPENT
    found_unknown: Coverage | None = None
    absent: Coverage = EMPTY
    suspects: Coverage = EMPTY
    asked_again: Coverage = EMPTY
    answered_by: Tier | None = None
    failure: QmtlError | None = None
    breach: Breach | None = None

    @property
    def unknown(self) -> Coverage:
        """Cells without an answer, closed or not."""
        return Coverage.of(self.request.span) if self.found_unknown is None else self.found_unknown

    @property
    def missing(self) -> Coverage:
        """Closed bars that nobody has answered for."""
        return self.unknown.clip(self.request.closed)


def open_session(request: Request, grid: Grid) -> Session:
    """A session that has not done anything yet."""
    return Session(request, grid, request.tiers)


def next_step(session: Session) -> Step:
    """What to do now."""
    if session.breach is not None or not session.tiers:
        # What was committed before a budget ran out is part of a partial answer: read it once more.
        return Ask(Tier.STORAGE) if session.tiers == (Tier.STORAGE,) else _finish(session)
    match tier := session.tiers[0]:
        case Tier.CACHE | Tier.STORAGE:
            return Ask(tier)
        case Tier.BACKFILL | Tier.LIVE:
            return Ask(tier, session.missing | session.suspects)
        case _:
            assert_never(tier)


def advance(session: Session, event: Event) -> Session:
    """The session after `event`."""
    ledger = session.ledger.spend(PHASE_OF[event.tier], event.seconds)
    match event:
        case NotThere():
            return session._replace(ledger=ledger, tiers=session.tiers[1:])
        case Found():
            found = Session(
                session.request,
                session.grid,
                (),
                ledger,
                event.unknown,
                event.absent,
                # Asked once within a request: what is still suspicious afterwards is what the source says.
                event.suspects if session.answered_by is None else EMPTY,
                session.asked_again,
                event.tier,
                session.failure,
                session.breach,
            )
            return found if found.breach else _go_on(found, session.tiers[1:])
        case Filled():
            # A store that could not answer in time is not asked the same again.
            worth = event.tier is not Tier.STORAGE and (
                event.breach is None or _keeps_partial(session.request)
            )
            again = (Tier.STORAGE,) if worth else ()
            after = session.tiers[1:] if event.breach is None else ()
            return session._replace(
                ledger=ledger,
                tiers=again + after,
                asked_again=session.asked_again | event.asked_again,
                failure=event.failure or session.failure,
                breach=event.breach,
            )
        case _:
            assert_never(event)


def _go_on(session: Session, tiers: tuple[Tier, ...]) -> Session:
    """With the later `tiers` that have something to do; none before a backfill too large to wait for."""
    wanted = session.missing | session.suspects
    if not wanted:
        return session
    tiers = tuple(tier for tier in tiers if tier is not Tier.STORAGE)
    if tiers[:1] == (Tier.LIVE,) and not session.missing:
        return session
    policy = session.request.sla
    if policy is not None and policy.sync_gap is not None and tiers[:1] == (Tier.BACKFILL,):
        gap = session.grid.count(wanted)
        if gap > policy.sync_gap:
            return session._replace(breach=Breach("sync_gap", limit=policy.sync_gap, observed=gap))
    return session._replace(tiers=tiers)


def _keeps_partial(request: Request) -> bool:
    return request.partial_ok or (request.sla is not None and request.sla.on_breach == "partial")


def _finish(session: Session) -> Finish:
    request = session.request
    holes = (session.unknown | session.absent).clip(request.closed)
    breach = session.breach or _bound_passed(session, holes)
    behind = session.missing if request.strategy.asks_behind and request.as_of is None else EMPTY
    return Finish(breach, session.failure, holes, behind)


def _bound_passed(session: Session, holes: Coverage) -> Breach | None:
    """The bounds that are judged on the answer itself: the fraction of bars it has, and how old it is."""
    policy, closed, grid = session.request.sla, session.request.closed, session.grid
    if policy is None or closed.is_empty:
        return None
    if policy.min_coverage is not None:
        expected = grid.count(grid.expected(closed))
        covered = 1.0 - grid.count(holes) / expected if expected else 1.0
        if covered < policy.min_coverage:
            return Breach("min_coverage", limit=policy.min_coverage, observed=covered)
    if policy.max_lag is not None:
        # The newest bar that is known is the one before the hole that reaches to the end.
        newest = closed.end
        if holes and holes.hull.end == closed.end:
            newest = holes.spans[-1].start
        lag = (min(session.request.opened_at, session.request.span.end) - newest) / 1e9
        if lag > policy.max_lag:
            return Breach("max_lag", limit=policy.max_lag, observed=lag)
    return None
