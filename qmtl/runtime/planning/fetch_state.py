"""One request on its way: what to do next, and what an answer changes. Pure.

    state = initial_state(request, grid)
    while not isinstance(step := next_step(state), Finish):
        state = advance(state, perform(step))

The executor performs a step and hands back what happened as an event; nothing here waits, reads or asks the
time.

    CACHE --> STORAGE --> sync gap? --> BACKFILL --> STORAGE again --> LIVE --> STORAGE again --> Finish

A tier is passed over when nothing is missing. After a tier that changes the store, the store is read anew, so
that an answer always is what the store holds.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from qmtl.foundation.errors import QmtlError
from qmtl.foundation.grid import Grid
from qmtl.foundation.timeline import EMPTY, Coverage
from qmtl.foundation.times import SECOND
from qmtl.runtime.planning.attribution import Turn
from qmtl.runtime.planning.ledger import NOTHING_SPENT, PHASE_OF, Breach, Budget, Ledger, budget_for
from qmtl.runtime.planning.request import Request, Tier


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
    answer is impossible or implausible, to be asked for once more. damaged: unknown cells that were lost to
    damage.
    """

    tier: Tier
    unknown: Coverage
    absent: Coverage
    suspects: Coverage
    seconds: float
    damaged: Coverage = EMPTY


class NotThere(NamedTuple):
    """The cache does not hold the whole span; or there is no vendor or feed that could be asked."""

    tier: Tier
    seconds: float


class Filled(NamedTuple):
    """A vendor or a feed was asked, and what it brought is stored; or a budget ended a step.

    asked_again: cells that had an answer, and for which the vendor was asked once more.
    """

    tier: Tier
    seconds: float
    failure: QmtlError | None = None
    breach: Breach | None = None
    asked_again: Coverage = EMPTY


Event = Found | NotThere | Filled


class FetchState(NamedTuple):
    """All that is known of a request so far. `tiers` are those still to come, the next one first.

    found_unknown: None until the cache or the store has answered: then all of it is unknown.
    suspects: cells to be asked for once more. still_suspect: those that the latest look found suspicious,
        asked for again or not.
    turns: the vendors and feeds that were asked, in order, and what was missing then.
    damaged: cells that are lost to damage now. damage_met: those that any look has found so.
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
    still_suspect: Coverage = EMPTY
    turns: tuple[Turn, ...] = ()
    damaged: Coverage = EMPTY
    damage_met: Coverage = EMPTY

    @property
    def unknown(self) -> Coverage:
        """Cells without an answer, closed or not."""
        return Coverage.of(self.request.span) if self.found_unknown is None else self.found_unknown

    @property
    def missing(self) -> Coverage:
        """Closed bars that nobody has answered for."""
        return self.unknown.clip(self.request.closed)

    @property
    def tail(self) -> Coverage:
        """The missing cells that reach to the newest closed bar: what a live feed may still bring."""
        missing = self.missing
        if not missing or missing.hull.end != self.request.closed.end:
            return EMPTY
        return Coverage.of(missing.spans[-1])

    @property
    def damage_healed(self) -> Coverage:
        """Cells that were lost to damage, and are not any more."""
        return self.damage_met - self.damaged if self.damage_met else EMPTY

    @property
    def healed(self) -> Coverage:
        """Cells that were asked for again, and that are not suspicious any more."""
        return self.asked_again - self.still_suspect

    def budget(self, tier: Tier, elapsed: float) -> Budget | None:
        """What a step of `tier` has to keep, `elapsed` seconds after the request; None is no limit.

        After a breach the store is read once more for what was committed; no budget is left for that.
        """
        if self.request.sla is None or self.breach is not None:
            return None
        return budget_for(self.request.sla, tier, self.ledger, elapsed)


# The cache and the store are asked for the whole span, whatever the request.
_ASK_ALL = {tier: Ask(tier) for tier in (Tier.CACHE, Tier.STORAGE)}


def initial_state(request: Request, grid: Grid) -> FetchState:
    """A state that has not done anything yet."""
    return FetchState(request, grid, request.tiers)


def next_step(state: FetchState) -> Step:
    """What to do now."""
    if state.breach is not None or not state.tiers:
        # What was committed before a budget ran out is no hole, in an answer or an error: read it once more.
        return _ASK_ALL[Tier.STORAGE] if state.tiers == (Tier.STORAGE,) else _finish(state)
    match tier := state.tiers[0]:
        case Tier.CACHE | Tier.STORAGE:
            return _ASK_ALL[tier]
        case Tier.BACKFILL | Tier.LIVE:
            return Ask(tier, state.missing | state.suspects)
        case _:
            assert_never(tier)


def advance(state: FetchState, event: Event) -> FetchState:
    """The state after `event`."""
    ledger = state.ledger.spend(PHASE_OF[event.tier], event.seconds)
    match event:
        case Found():
            found = FetchState(
                state.request,
                state.grid,
                (),
                ledger,
                event.unknown,
                event.absent,
                # Asked once within a request: what is still suspicious afterwards is what the source says.
                event.suspects if state.answered_by is None else EMPTY,
                state.asked_again,
                event.tier,
                state.failure,
                state.breach,
                event.suspects,
                state.turns,
                event.damaged,
                state.damage_met if event.damaged is EMPTY else state.damage_met | event.damaged,
            )
            return found if found.breach else _go_on(found, state.tiers[1:])
        case NotThere():
            return state._replace(ledger=ledger, tiers=state.tiers[1:])
        case Filled():
            # A store that could not answer in time is not asked the same again.
            again = () if event.tier is Tier.STORAGE else (Tier.STORAGE,)
            after = state.tiers[1:] if event.breach is None else ()
            asked = () if event.tier is Tier.STORAGE else (Turn(event.tier, state.unknown),)
            return state._replace(
                turns=state.turns + asked,
                ledger=ledger,
                tiers=again + after,
                asked_again=state.asked_again | event.asked_again,
                failure=event.failure or state.failure,
                breach=event.breach,
            )
        case _:
            assert_never(event)


def _go_on(state: FetchState, tiers: tuple[Tier, ...]) -> FetchState:
    """With the later `tiers` that have something to do; none before a backfill too large to wait for."""
    if state.found_unknown is EMPTY and state.suspects is EMPTY:
        return state
    wanted = state.missing | state.suspects
    if not wanted:
        return state
    tiers = tuple(tier for tier in tiers if tier is not Tier.STORAGE)
    if tiers[:1] == (Tier.LIVE,) and not state.missing:
        return state
    policy = state.request.sla
    if policy is not None and policy.sync_gap is not None and tiers[:1] == (Tier.BACKFILL,):
        gap = state.grid.count(wanted)
        if gap > policy.sync_gap:
            return state._replace(breach=Breach("sync_gap", limit=policy.sync_gap, observed=gap))
    return state._replace(tiers=tiers)


# Of a request that nothing is missing of; each answer from the cache has this end.
COMPLETE = Finish(None, None, EMPTY, EMPTY)


def _finish(state: FetchState) -> Finish:
    request = state.request
    if (
        state.found_unknown is EMPTY
        and state.absent is EMPTY
        and request.sla is None
        and state.breach is None
        and state.failure is None
    ):
        return COMPLETE
    holes = (state.unknown | state.absent).clip(request.closed)
    breach = state.breach or _bound_passed(state, holes)
    behind = state.missing if request.strategy.asks_behind and request.as_of is None else EMPTY
    return Finish(breach, state.failure, holes, behind)


def _bound_passed(state: FetchState, holes: Coverage) -> Breach | None:
    """The bounds that are judged on the answer itself: the fraction of bars it has, and how old it is."""
    policy, closed, grid = state.request.sla, state.request.closed, state.grid
    if policy is None or closed.is_empty:
        return None
    if policy.min_coverage is not None:
        expected = grid.count(grid.expected(closed))
        covered = 1.0 - grid.count(holes) / expected if expected else 1.0
        if covered < policy.min_coverage:
            return Breach("min_coverage", limit=policy.min_coverage, observed=covered)
    if policy.max_lag is not None:
        # From the newest bar that is known to the newest that has closed: a complete answer does not lag.
        due = grid.expected(closed)
        known = due - holes
        newest = known.hull.end if known else closed.start
        lag = (due.hull.end - newest) / SECOND if due else 0.0
        if lag > policy.max_lag:
            return Breach("max_lag", limit=policy.max_lag, observed=lag)
    return None
