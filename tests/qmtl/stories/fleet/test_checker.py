"""The checker of fleets finds each kind of broken promise, and nothing where all were kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from qmtl.foundation.timeline import Coverage
from tests.qmtl.stories.fleet.checker import check
from tests.qmtl.stories.fleet.history import (
    Asked,
    Claimed,
    Committed,
    Completed,
    Event,
    Fault,
    Fenced,
    Fetched,
    HistoryFile,
    Queued,
    Remaining,
    Requested,
    Reread,
    read_history,
)
from tests.qmtl.stories.fleet.made_up import PIECE, PIECES, SERIES, MadeUpFleet, made_up, spans_of

FETCH = st.tuples(
    st.sampled_from(["one", "two", "three"]),
    st.integers(0, PIECES - 1),
    st.integers(1, 12),
    st.none() | st.integers(0, 8),
)
FETCHES = st.lists(FETCH, min_size=1, max_size=8).map(
    lambda found: [
        (worker, first, min(first + length, PIECES), killed) for worker, first, length, killed in found
    ]
)


@given(FETCHES, st.randoms(use_true_random=False))
def test_nothing_is_found_where_all_was_kept(fetches: list[Any], random: Any) -> None:
    events = made_up(fetches).end()
    random.shuffle(events)
    assert check(events) == []


# -- one thing is wrong -----------------------------------------------------------------------------------


def last(events: list[Event], kind: type, **facts: Any) -> Any:
    """The last one with these facts; examples without any are not of use."""
    found = [
        event
        for event in events
        if isinstance(event, kind) and all(getattr(event, name) == fact for name, fact in facts.items())
    ]
    if not found:
        reject()
    return found[-1]


def exchange(events: list[Event], old: Event, new: Event) -> list[Event]:
    return [new if event is old else event for event in events]


def an_overtaken_commit(fleet: MadeUpFleet) -> list[Event]:
    commit = last(fleet.events, Committed, outcome="accepted")
    ((shard, _),) = commit.tokens
    fleet.token += 1
    fleet.events.append(
        Fenced("other", fleet.tick(), fleet.tick(), SERIES, "claim of another", ((shard, fleet.token),))
    )
    fleet.events.append(replace(commit, at=fleet.tick(), until=fleet.tick(), tx=fleet.tx + 1))
    return fleet.end()


def commits_in_the_wrong_order(fleet: MadeUpFleet) -> list[Event]:
    """Both were under way at once; the store says which came first."""
    commit = last(fleet.events, Committed, outcome="accepted")
    ((shard, token),) = commit.tokens
    newer = replace(commit, worker="other", claim="other", tokens=((shard, token + 1),), tx=commit.tx - 1)
    return [*fleet.end(), newer]


def a_time_before_that_of_an_earlier_commit(fleet: MadeUpFleet) -> list[Event]:
    commit = last(fleet.events, Committed, outcome="accepted")
    fleet.events.append(replace(commit, tx=commit.tx + 1, as_of=commit.as_of - 1))
    return fleet.end()


def two_commits_of_one_time(fleet: MadeUpFleet) -> list[Event]:
    commit = last(fleet.events, Committed, outcome="accepted")
    fleet.events.append(replace(commit, tx=commit.tx + 1))
    return fleet.end()


def an_answer_that_was_there(fleet: MadeUpFleet) -> list[Event]:
    commit = last(fleet.events, Committed, outcome="accepted")
    ((shard, _),) = commit.tokens
    claim, _ = fleet.grant("other", shard, Coverage(commit.answered))
    fleet.events.append(Fault(fleet.tick(), fleet.tick(), "which excuses nothing"))
    fleet.events.append(Asked("other", fleet.tick(), SERIES, claim, *commit.answered[0]))
    return fleet.end()


def an_answer_of_its_own(fleet: MadeUpFleet) -> list[Event]:
    commit = last(fleet.events, Committed, outcome="accepted")
    fleet.events.append(Fault(fleet.tick(), fleet.tick(), "which excuses nothing"))
    fleet.events.append(Asked(commit.worker, fleet.tick(), SERIES, commit.claim, *commit.answered[0]))
    return fleet.end()


def an_answer_that_came_meanwhile(fleet: MadeUpFleet) -> list[Event]:
    """Two were granted one shard, and nothing had failed."""
    assume(not any(isinstance(event, Fault) for event in fleet.events))
    commit = last(fleet.events, Committed, outcome="accepted")
    grant = last(fleet.events, Claimed, claim=commit.claim)
    early = replace(grant, worker="other", claim="early", at=grant.at, until=grant.at)
    fleet.events.append(Asked("other", fleet.tick(), SERIES, "early", *commit.answered[0]))
    return [*fleet.end(), early]


def no_claim(fleet: MadeUpFleet) -> list[Event]:
    asked = last(fleet.events, Asked)
    return exchange(fleet.end(), asked, replace(asked, claim="nobody's"))


def a_claim_of_this_machine_alone(fleet: MadeUpFleet) -> list[Event]:
    assume(not any(isinstance(event, Fault) for event in fleet.events))
    granted = last(fleet.events, Claimed, answer="granted")
    return exchange(fleet.end(), granted, replace(granted, coordinated=False))


def a_request_for_what_was_there(fleet: MadeUpFleet) -> list[Event]:
    commit = last(fleet.events, Committed, outcome="accepted")
    ((_, end),) = commit.answered
    assume(all(fault.until < commit.at for fault in fleet.events if isinstance(fault, Fault)))
    return [*fleet.end(), Requested(commit.until + 1, SERIES, end - 1, end + PIECE)]


def a_shard_without_a_bar(fleet: MadeUpFleet) -> list[Event]:
    """It was told to be done, and the last bar that was wanted of it is not there."""
    completed = last(fleet.events, Completed)
    events = fleet.end()
    granted = last(fleet.events, Claimed, claim=completed.claim)
    _, end = granted.cells[-1]
    return [
        replace(event, known=spans_of(Coverage(event.known) - Coverage.of((end - 1, end))))
        if isinstance(event, Reread) and event.as_of == completed.as_of
        else event
        for event in events
    ]


def done_for_what_nobody_had_asked(fleet: MadeUpFleet) -> list[Event]:
    granted = last(fleet.events, Claimed, answer="granted")
    assume(fleet.tx)
    cells = ((granted.cells[0][0] - PIECE, granted.cells[0][0]),)
    assume(not Coverage(cells) & fleet.known)
    told = replace(granted, worker="other", claim="other", answer="done", cells=cells, as_of=1)
    return [*fleet.end(), told]


def a_bar_that_nobody_has(fleet: MadeUpFleet) -> list[Event]:
    events = fleet.end()
    remaining = last(events, Remaining)
    cells = fleet.wanted
    gone = Coverage.of((cells.starts[0], cells.starts[0] + 1))
    return exchange(
        events,
        remaining,
        Remaining(
            SERIES, spans_of(Coverage(remaining.known) - gone), spans_of(Coverage(remaining.violated) - gone)
        ),
    )


def a_job_that_was_forgotten(fleet: MadeUpFleet) -> list[Event]:
    fleet.events.append(Queued(fleet.tick(), SERIES, fleet.wanted.hull.end, fleet.wanted.hull.end + PIECE))
    return fleet.end()


def other_values(fleet: MadeUpFleet) -> list[Event]:
    events = fleet.end()
    fetched = last(events, Fetched, error=None)
    assume(fetched.as_of is not None)
    return exchange(events, fetched, replace(fetched, fingerprint="another"))


def a_receipt_that_cannot_be_read(fleet: MadeUpFleet) -> list[Event]:
    events = fleet.end()
    fetched = last(events, Fetched, error=None)
    assume(fetched.as_of is not None)
    return [event for event in events if not (isinstance(event, Reread) and event.as_of == fetched.as_of)]


BROKEN = {
    an_overtaken_commit: "stale commit",
    commits_in_the_wrong_order: "stale commit",
    a_time_before_that_of_an_earlier_commit: "time goes back",
    two_commits_of_one_time: "time goes back",
    an_answer_that_was_there: "asked again",
    an_answer_of_its_own: "asked again",
    an_answer_that_came_meanwhile: "asked again",
    no_claim: "no lease",
    a_claim_of_this_machine_alone: "no lease",
    a_request_for_what_was_there: "requested again",
    a_shard_without_a_bar: "done without bars",
    done_for_what_nobody_had_asked: "done without bars",
    a_bar_that_nobody_has: "lost",
    a_job_that_was_forgotten: "lost",
    other_values: "other bars",
    a_receipt_that_cannot_be_read: "other bars",
}


@pytest.mark.parametrize("break_one", BROKEN, ids=lambda one: one.__name__)
def test_one_broken_promise_among_many_kept_ones_is_found(
    break_one: Callable[[MadeUpFleet], list[Event]],
) -> None:
    @settings(max_examples=40)
    @given(FETCHES, st.randoms(use_true_random=False))
    def found(fetches: list[Any], random: Any) -> None:
        events = break_one(made_up(fetches))
        random.shuffle(events)
        assert BROKEN[break_one] in {finding.rule for finding in check(events)}

    found()


def test_what_nobody_knows_the_order_of_is_held_against_nobody() -> None:
    """A commit and a token of another worker at the same time, and a commit without an answer."""
    fleet = made_up([("one", 0, 3, None)])
    commit = last(fleet.events, Committed)
    ((shard, token),) = commit.tokens
    meanwhile = Fenced("two", commit.at, commit.until, SERIES, "two", ((shard, token + 1),))
    unknown = replace(commit, at=commit.until + 9, until=None, outcome=None, tx=None)
    assert check([*fleet.end(), meanwhile, unknown]) == []


def test_a_failure_excuses_what_came_while_two_worked_on_one_shard() -> None:
    fleet = made_up([("one", 0, 3, None)])
    commit, grant = last(fleet.events, Committed), last(fleet.events, Claimed)
    early = replace(grant, worker="two", claim="two", until=grant.at)
    asked = Asked("two", fleet.tick(), SERIES, "two", *commit.answered[0])
    stopped = Fault(grant.until, commit.at, "one stands still")
    events = [*fleet.end(), early, asked]
    assert [finding.rule for finding in check(events)] == ["asked again"]
    assert check([*events, stopped]) == []
    assert check([*events, replace(stopped, at=asked.at + 1, until=None)]) != [], "it came later"


# -- files ------------------------------------------------------------------------------------------------


@given(FETCHES)
def test_a_history_is_read_as_it_was_written(tmp_path_factory: Any, fetches: list[Any]) -> None:
    path = tmp_path_factory.mktemp("history") / "one.jsonl"
    events = made_up(fetches).end()
    file = HistoryFile(path)
    for event in events:
        file.write(event)
    file.close()
    assert read_history([path]) == events


def test_an_outcome_replaces_what_had_begun_and_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    begun = Committed("one", 1, None, SERIES, "c", ((7, 1),), ((0, 60),))
    ended = replace(begun, until=2, outcome="accepted", tx=1)
    file = HistoryFile(tmp_path / "h")
    first = file.write(begun)
    file.write(begun)
    file.write(ended, first)
    file.close()
    with (tmp_path / "h").open("a") as more:
        more.write(json.dumps({"kind": "fault"})[:-3])
    assert read_history([tmp_path / "h"]) == [ended, begun]
