"""The planner decides without a clock, a store or a vendor: events in, steps out."""

from __future__ import annotations

import pytest

from qmtl.foundation.errors import InvalidRequestError, SourceUnavailableError
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.planning.attribution import brought
from qmtl.runtime.planning.fetch_state import (
    Ask,
    FetchState,
    Filled,
    Finish,
    Found,
    NotThere,
    advance,
    initial_state,
    next_step,
)
from qmtl.runtime.planning.ledger import Breach, Ledger, budget_for
from qmtl.runtime.planning.request import STRATEGIES, Request, Tier, strategy_named

SERIES = SeriesId.parse("ohlcv:test:A/B:1m")
GRID = Grid(SERIES.timeframe)
SPAN = Span(0, 100 * MINUTE)
HOLE = Coverage.of(Span(40 * MINUTE, 60 * MINUTE))
TAIL = Coverage.of(Span(90 * MINUTE, 100 * MINUTE))


def state(strategy: str = "SEAMLESS", **facts: object) -> FetchState:
    request = Request(SERIES, SPAN, SPAN, STRATEGIES[strategy], opened_at=SPAN.end)
    return initial_state(request._replace(**facts), GRID)  # type: ignore[arg-type]


def found(
    tier: Tier, unknown: Coverage = EMPTY, absent: Coverage = EMPTY, suspects: Coverage = EMPTY
) -> Found:
    return Found(tier, unknown, absent, suspects, 0.25)


def visited(start: FetchState, answers: dict[Tier, list[object]]) -> tuple[list[str], Finish, FetchState]:
    """Walk to the end, taking the next answer of each tier as it is asked; the names of the steps."""
    steps, now = [], start
    while not isinstance(step := next_step(now), Finish):
        steps.append(step.tier.value)
        now = advance(now, answers[step.tier].pop(0))  # type: ignore[arg-type]
        assert len(steps) < 20, "the planner does not end"
    return steps, step, now


WALKS = {
    "the cache holds it": ("SEAMLESS", {Tier.CACHE: [found(Tier.CACHE)]}, ["cache"]),
    "the store holds it": (
        "SEAMLESS",
        {Tier.CACHE: [NotThere(Tier.CACHE, 0.0)], Tier.STORAGE: [found(Tier.STORAGE)]},
        ["cache", "storage"],
    ),
    "a cached hole is asked for": (
        "AUTO_BACKFILL",
        {
            Tier.CACHE: [found(Tier.CACHE, HOLE)],
            Tier.BACKFILL: [Filled(Tier.BACKFILL, 1.0)],
            Tier.STORAGE: [found(Tier.STORAGE)],
        },
        ["cache", "backfill", "storage"],
    ),
    "fail fast asks no vendor": (
        "FAIL_FAST",
        {Tier.CACHE: [NotThere(Tier.CACHE, 0.0)], Tier.STORAGE: [found(Tier.STORAGE, HOLE)]},
        ["cache", "storage"],
    ),
    "partial fill answers with its holes": (
        "PARTIAL_FILL",
        {Tier.CACHE: [NotThere(Tier.CACHE, 0.0)], Tier.STORAGE: [found(Tier.STORAGE, HOLE)]},
        ["cache", "storage"],
    ),
    "live after backfill": (
        "SEAMLESS",
        {
            Tier.CACHE: [NotThere(Tier.CACHE, 0.0)],
            Tier.STORAGE: [found(Tier.STORAGE, HOLE | TAIL), found(Tier.STORAGE, TAIL), found(Tier.STORAGE)],
            Tier.BACKFILL: [Filled(Tier.BACKFILL, 1.0)],
            Tier.LIVE: [Filled(Tier.LIVE, 1.0)],
        },
        ["cache", "storage", "backfill", "storage", "live", "storage"],
    ),
    "what a backfill fills needs no live feed": (
        "SEAMLESS",
        {
            Tier.CACHE: [NotThere(Tier.CACHE, 0.0)],
            Tier.STORAGE: [found(Tier.STORAGE, TAIL), found(Tier.STORAGE)],
            Tier.BACKFILL: [Filled(Tier.BACKFILL, 1.0)],
        },
        ["cache", "storage", "backfill", "storage"],
    ),
    "what a source has not is not asked for": (
        "AUTO_BACKFILL",
        {Tier.CACHE: [NotThere(Tier.CACHE, 0.0)], Tier.STORAGE: [found(Tier.STORAGE, absent=HOLE)]},
        ["cache", "storage"],
    ),
    "suspicious data is asked for once more, and once only": (
        "SEAMLESS",
        {
            Tier.CACHE: [NotThere(Tier.CACHE, 0.0)],
            Tier.STORAGE: [found(Tier.STORAGE, suspects=HOLE), found(Tier.STORAGE, suspects=HOLE)],
            Tier.BACKFILL: [Filled(Tier.BACKFILL, 1.0)],
        },
        ["cache", "storage", "backfill", "storage"],
    ),
}


@pytest.mark.parametrize("case", WALKS, ids=list(WALKS))
def test_the_tiers_that_a_request_visits(case: str) -> None:
    strategy, answers, expected = WALKS[case]
    steps, _, _ = visited(state(strategy), {tier: list(events) for tier, events in answers.items()})
    assert steps == expected


def test_a_point_in_time_is_read_from_the_store_alone() -> None:
    steps, finish, _ = visited(state(as_of=1), {Tier.STORAGE: [found(Tier.STORAGE, HOLE)]})
    assert steps == ["storage"]
    assert finish.holes == HOLE


def test_holes_are_counted_among_closed_bars_only() -> None:
    closed = Span(0, 50 * MINUTE)
    answers = {Tier.CACHE: [NotThere(Tier.CACHE, 0.0)], Tier.STORAGE: [found(Tier.STORAGE, HOLE | TAIL)]}
    _, finish, _ = visited(state("FAIL_FAST", closed=closed), answers)  # type: ignore[arg-type]
    assert finish.holes == HOLE.clip(closed)


def test_partial_fill_asks_behind_the_answer_for_unknown_bars_only() -> None:
    answers = {Tier.CACHE: [found(Tier.CACHE, HOLE, absent=TAIL)]}
    _, finish, _ = visited(state("PARTIAL_FILL"), answers)  # type: ignore[arg-type]
    assert finish.behind == HOLE
    assert finish.holes == HOLE | TAIL


def test_a_gap_over_the_bound_stops_before_any_vendor_is_asked() -> None:
    policy = SLAPolicy(sync_gap=19)
    answers = {Tier.CACHE: [found(Tier.CACHE, HOLE)]}
    steps, finish, _ = visited(state(sla=policy), answers)  # type: ignore[arg-type]
    assert steps == ["cache"]
    assert finish.breach == Breach("sync_gap", limit=19, observed=20)


def test_a_gap_at_the_bound_is_asked_for() -> None:
    now = advance(state(sla=SLAPolicy(sync_gap=20)), found(Tier.CACHE, HOLE))
    assert next_step(now) == Ask(Tier.BACKFILL, HOLE)


@pytest.mark.parametrize("on_breach", ["raise", "partial"])
def test_after_a_spent_budget_the_store_says_what_is_missing_still(on_breach: str) -> None:
    policy = SLAPolicy(backfill_wait=1.0, on_breach=on_breach)  # type: ignore[arg-type]
    spent = Breach("backfill_wait", budget_s=1.0, elapsed_s=1.0)
    answers = {
        Tier.CACHE: [found(Tier.CACHE, HOLE | TAIL)],
        Tier.BACKFILL: [Filled(Tier.BACKFILL, 1.0, breach=spent)],
        Tier.STORAGE: [found(Tier.STORAGE, TAIL)],
    }
    steps, finish, _ = visited(state(sla=policy), answers)  # type: ignore[arg-type]
    assert steps == ["cache", "backfill", "storage"]
    assert finish.breach == spent
    assert finish.holes == TAIL, "an error names no bars that were stored meanwhile"


def test_a_store_that_is_too_slow_is_not_asked_twice() -> None:
    spent = Breach("storage_wait", budget_s=1.0, elapsed_s=2.0)
    answers = {
        Tier.CACHE: [NotThere(Tier.CACHE, 0.0)],
        Tier.STORAGE: [Filled(Tier.STORAGE, 2.0, breach=spent)],
    }
    steps, finish, _ = visited(state(partial_ok=True), answers)  # type: ignore[arg-type]
    assert steps == ["cache", "storage"]
    assert finish.breach == spent
    assert finish.holes == Coverage.of(SPAN)


def test_a_failure_goes_on_to_what_is_left_to_try() -> None:
    failure = SourceUnavailableError("down", source="v")
    answers = {
        Tier.CACHE: [found(Tier.CACHE, TAIL)],
        Tier.BACKFILL: [Filled(Tier.BACKFILL, 1.0, failure=failure)],
        Tier.STORAGE: [found(Tier.STORAGE, TAIL), found(Tier.STORAGE)],
        Tier.LIVE: [Filled(Tier.LIVE, 1.0)],
    }
    steps, finish, _ = visited(state(), answers)  # type: ignore[arg-type]
    assert steps == ["cache", "backfill", "storage", "live", "storage"]
    assert finish.failure is failure
    assert not finish.holes


@pytest.mark.parametrize("asked", [EMPTY, HOLE], ids=["no vendor to ask", "asked"])
def test_only_what_a_vendor_was_asked_counts_as_asked_again(asked: Coverage) -> None:
    answers = {
        Tier.CACHE: [found(Tier.CACHE, suspects=HOLE)],
        Tier.BACKFILL: [Filled(Tier.BACKFILL, 0.0, asked_again=asked)],
        Tier.STORAGE: [found(Tier.STORAGE, suspects=HOLE)],
    }
    _, _, end = visited(state(), answers)  # type: ignore[arg-type]
    assert end.asked_again == asked


def test_seconds_go_to_their_phase() -> None:
    answers = dict(WALKS["live after backfill"][1])
    _, _, end = visited(state(), {tier: list(events) for tier, events in answers.items()})  # type: ignore[arg-type]
    assert end.ledger == Ledger(storage_wait=0.75, backfill_wait=1.0, live_wait=1.0)
    phases = end.ledger.as_dict(total=3.0)
    assert phases["other"] == pytest.approx(0.25)
    assert sum(v for name, v in phases.items() if name != "total") == pytest.approx(phases["total"])


def test_the_bounds_on_the_answer_itself() -> None:
    holes = Coverage.of(Span(50 * MINUTE, 100 * MINUTE))
    answers = {Tier.CACHE: [found(Tier.CACHE, holes)]}
    _, finish, _ = visited(state("FAIL_FAST", sla=SLAPolicy(min_coverage=0.6)), dict(answers))  # type: ignore[arg-type]
    assert finish.breach == Breach("min_coverage", limit=0.6, observed=0.5)

    answers = {Tier.CACHE: [found(Tier.CACHE, holes)]}
    _, finish, _ = visited(state("FAIL_FAST", sla=SLAPolicy(max_lag=600)), dict(answers))  # type: ignore[arg-type]
    assert finish.breach == Breach("max_lag", limit=600, observed=3000.0)

    answers = {Tier.CACHE: [found(Tier.CACHE, HOLE)]}
    _, finish, _ = visited(state("FAIL_FAST", sla=SLAPolicy(max_lag=600)), dict(answers))  # type: ignore[arg-type]
    assert finish.breach is None, "a hole in the middle does not make the newest bar older"

    answers = {Tier.CACHE: [found(Tier.CACHE)]}
    _, finish, _ = visited(state("FAIL_FAST", sla=SLAPolicy(max_lag=0)), dict(answers))  # type: ignore[arg-type]
    assert finish.breach is None, "a complete answer does not lag"


@pytest.mark.parametrize(
    ("policy", "tier", "spent", "elapsed", "expected"),
    [
        (None, Tier.STORAGE, Ledger(), 0.0, None),
        (SLAPolicy(backfill_wait=2.0), Tier.STORAGE, Ledger(), 0.0, None),
        (
            SLAPolicy(backfill_wait=2.0),
            Tier.BACKFILL,
            Ledger(backfill_wait=0.5),
            9.0,
            ("backfill_wait", 2.0, 1.5),
        ),
        (SLAPolicy(backfill_wait=2.0, total=3.0), Tier.BACKFILL, Ledger(), 2.5, ("total", 3.0, 0.5)),
        (SLAPolicy(backfill_wait=2.0, total=3.0), Tier.BACKFILL, Ledger(), 0.5, ("backfill_wait", 2.0, 2.0)),
        (
            SLAPolicy(storage_wait=1.0),
            Tier.CACHE,
            Ledger(storage_wait=0.25),
            0.5,
            ("storage_wait", 1.0, 0.75),
        ),
    ],
)
def test_the_budget_that_ends_a_step_first(
    policy: SLAPolicy | None, tier: Tier, spent: Ledger, elapsed: float, expected: object
) -> None:
    assert budget_for(policy, tier, spent, elapsed) == expected


def test_an_unknown_strategy_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="FAIL_FAST"):
        strategy_named("fail_fast")


# -- what follows from the state --------------------------------------------------------------------------


def after(start: FetchState, *events: object) -> FetchState:
    for event in events:
        start = advance(start, event)  # type: ignore[arg-type]
    return start


def test_the_tail_is_the_missing_run_that_reaches_the_newest_closed_bar() -> None:
    assert after(state(), found(Tier.STORAGE, HOLE | TAIL)).tail == TAIL
    assert after(state(), found(Tier.STORAGE, HOLE)).tail == EMPTY
    assert after(state(), found(Tier.STORAGE)).tail == EMPTY
    assert state().tail == Coverage.of(SPAN), "before anybody has looked, all of it is missing"


def test_a_bar_that_has_not_closed_is_no_tail() -> None:
    closed = Span(0, 90 * MINUTE)
    assert after(state(closed=closed), found(Tier.STORAGE, TAIL)).tail == EMPTY
    edge = Coverage.of(Span(80 * MINUTE, 95 * MINUTE))
    assert after(state(closed=closed), found(Tier.STORAGE, edge)).tail == edge.clip(closed)


def test_where_nobody_can_be_asked_the_store_is_not_read_again() -> None:
    answers: dict[Tier, list[object]] = {
        Tier.CACHE: [NotThere(Tier.CACHE, 0.0)],
        Tier.STORAGE: [found(Tier.STORAGE, TAIL)],
        Tier.BACKFILL: [NotThere(Tier.BACKFILL, 0.0)],
        Tier.LIVE: [NotThere(Tier.LIVE, 0.0)],
    }
    steps, finish, last = visited(state(), answers)
    assert steps == ["cache", "storage", "backfill", "live"]
    assert finish.holes == TAIL
    assert last.turns == ()


def test_each_tier_is_credited_with_what_was_missing_before_it_and_not_after() -> None:
    last = after(
        state(),
        found(Tier.STORAGE, HOLE | TAIL),
        Filled(Tier.BACKFILL, 1.0),
        found(Tier.STORAGE, TAIL),
        Filled(Tier.LIVE, 1.0),
        found(Tier.STORAGE),
    )
    assert list(brought(last.turns, last.unknown)) == [(Tier.BACKFILL, HOLE), (Tier.LIVE, TAIL)]


def test_what_was_asked_again_has_healed_where_the_last_look_finds_nothing() -> None:
    asked = after(state(), found(Tier.STORAGE, suspects=HOLE | TAIL))
    assert asked.suspects == HOLE | TAIL
    last = after(
        asked, Filled(Tier.BACKFILL, 1.0, asked_again=HOLE | TAIL), found(Tier.STORAGE, suspects=TAIL)
    )
    assert last.healed == HOLE
    assert last.suspects == EMPTY, "asked once within a request"


def test_damage_that_an_earlier_look_met_is_healed_when_the_last_one_does_not() -> None:
    met = found(Tier.STORAGE, HOLE | TAIL)._replace(damaged=HOLE | TAIL)
    last = after(state(), met, Filled(Tier.BACKFILL, 1.0), found(Tier.STORAGE, TAIL)._replace(damaged=TAIL))
    assert (last.damage_met, last.damaged, last.damage_healed) == (HOLE | TAIL, TAIL, HOLE)
    assert after(state(), found(Tier.STORAGE)).damage_healed == EMPTY


def test_after_a_breach_the_store_is_read_without_a_budget() -> None:
    policy = SLAPolicy(storage_wait=1.0)
    running = state(sla=policy)
    assert running.budget(Tier.STORAGE, 0.25) is not None
    assert state().budget(Tier.STORAGE, 0.25) is None
    spent = Breach("backfill_wait", budget_s=1.0, elapsed_s=1.0)
    assert running._replace(breach=spent).budget(Tier.STORAGE, 0.25) is None
