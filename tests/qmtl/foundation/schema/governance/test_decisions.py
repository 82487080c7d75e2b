"""What a promotion wants, what a rollback does, and how soon anybody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmtl.foundation.errors import (
    InvalidRequestError,
    PromotionRefusedError,
    RegistryUnavailableError,
    StoreError,
    TombstonedError,
)
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.governance.audit_file import AuditLog
from qmtl.foundation.schema.governance.bundle import Bundle
from qmtl.foundation.schema.governance.decisions import (
    Decision,
    Governed,
    Observation,
    ValidationMode,
    evidence,
    hour_of,
    in_force,
    judge_promotion,
)
from qmtl.foundation.schema.governance.reader import GovernanceReader
from qmtl.foundation.schema.governance.rollout import Rollout
from qmtl.foundation.times import HOUR, SECOND
from qmtl.runtime.testing import FakeClock

NOW = "2026-03-01T12:30:00Z"


class Records:
    """Records in memory that can be out of reach."""

    def __init__(self) -> None:
        self.made: dict[str, list[Decision]] = {}
        self.seen: dict[str, list[Observation]] = {}
        self.asked = 0
        self.failure: Exception | None = None
        self.refusal: Exception | None = None
        self.lost_answer: Exception | None = None

    def decide(self, subject: str, decision: Decision) -> None:
        if refusal := self.failure or self.refusal:
            raise refusal
        self.made.setdefault(subject, []).append(decision)
        if self.lost_answer:
            raise self.lost_answer

    def decisions(self, subject: str) -> tuple[Decision, ...]:
        self.asked += 1
        if self.failure:
            raise self.failure
        return tuple(self.made.get(subject, ()))

    def observe(self, subject: str, observation: Observation) -> None:
        self.seen.setdefault(subject, []).append(observation)

    def observed(self, subject: str, since: int = 0) -> tuple[Observation, ...]:
        return tuple(one for one in self.seen.get(subject, ()) if one.hour + HOUR > since)


class House:
    """A rollout with all that it stands on."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(NOW)
        self.records = Records()
        self.log = AuditLog(folder / "log.jsonl", anchors=folder / "state", clock=self.clock)
        self.bundle = Bundle.read(BUILTIN)
        self.rollout = Rollout(self.records, self.log, self.bundle, clock=self.clock)
        self.reader = GovernanceReader(self.records, clock=self.clock)

    def see(self, hours_ago: float, checked: int, failed: int = 0, *, version: int = 1) -> None:
        hour = hour_of(self.clock.now() - int(hours_ago * HOUR))
        self.records.observe("ohlcv", Observation(version, hour, checked, failed))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def refused(house: House, **options: Any) -> dict[str, Any]:
    """The evidence with which a promotion is refused; nothing is written or in force then."""
    with pytest.raises(PromotionRefusedError) as caught:
        house.rollout.promote("ohlcv", 1, **options)
    assert not house.log.path.exists()
    assert house.records.made == {}
    return caught.value.evidence


def test_nothing_observed_is_no_reason_to_promote(house: House) -> None:
    assert refused(house) == {
        "window_s": 48 * 3600.0,
        "since": "2026-02-27T12:30:00Z",
        "until": "2026-03-01T12:30:00Z",
        "checked": 0,
        "failed": 0,
        "hours_observed": 0,
        "last_failing_hour": None,
        "other_versions": {},
    }


def test_one_failure_in_the_window_refuses_with_exact_counts(house: House) -> None:
    house.see(1, 1_000)
    house.see(30, 500, 1)
    house.see(40, 7, 2)
    found = refused(house)
    assert (found["checked"], found["failed"], found["hours_observed"]) == (1_507, 3, 3)
    assert found["last_failing_hour"] == "2026-02-28T06:00:00Z"


def test_what_another_version_showed_is_no_evidence(house: House) -> None:
    house.see(1, 1_000, version=2)
    house.see(2, 10, 10, version=2)
    assert refused(house)["other_versions"] == {"2": {"checked": 1_010, "failed": 10}}
    house.see(1, 1)
    assert house.rollout.promote("ohlcv", 1).evidence["checked"] == 1


@pytest.mark.parametrize(
    ("hours_ago", "counts"),
    # Half past twelve: the window of 48 h begins within the hour from 12:00, which counts as a whole.
    [(48, True), (48.5, True), (48.6, False), (0, True), (-1, True)],
)
def test_the_window_counts_every_hour_that_it_meets(house: House, hours_ago: float, counts: bool) -> None:
    house.see(1, 1)
    house.see(hours_ago, 1, 1)
    if counts:
        refused(house)
    else:
        assert house.rollout.promote("ohlcv", 1).evidence["failed"] == 0


def test_a_shorter_window_sees_less(house: House) -> None:
    house.see(30, 5, 5)
    house.see(1, 5)
    refused(house)
    entry = house.rollout.promote("ohlcv", 1, window_s=24 * 3600.0)
    assert (entry.evidence["window_s"], entry.evidence["checked"]) == (86_400.0, 5)


def test_a_promotion_is_written_and_then_in_force(house: House) -> None:
    house.see(1, 1_440)
    entry = house.rollout.promote("ohlcv", 1)
    assert (entry.action, entry.subject, entry.version) == ("promote", "ohlcv", 1)
    assert entry.bundle_sha256 == house.bundle.sha256
    assert entry.evidence["checked"] == 1_440
    assert entry.evidence["override"] is False
    assert house.reader.mode("ohlcv") is ValidationMode.STRICT
    [decision] = house.records.decisions("ohlcv")
    assert decision.entry == f"{entry.number}:{entry.hash}"
    assert house.log.verify().is_intact


def test_an_override_needs_a_reason_and_is_recorded(house: House) -> None:
    house.see(1, 10, 4)
    with pytest.raises(InvalidRequestError, match="needs a reason"):
        house.rollout.promote("ohlcv", 1, override=True, reason="  ")
    refused(house)
    entry = house.rollout.promote("ohlcv", 1, override=True, reason="the vendor has mended it")
    assert {key: entry.evidence[key] for key in ("checked", "failed", "override", "reason")} == {
        "checked": 10,
        "failed": 4,
        "override": True,
        "reason": "the vendor has mended it",
    }
    assert house.reader.mode("ohlcv") is ValidationMode.STRICT


def test_a_rollback_is_seen_within_five_seconds(house: House) -> None:
    house.see(1, 1)
    house.rollout.promote("ohlcv", 1)
    assert house.reader.mode("ohlcv") is ValidationMode.STRICT
    house.rollout.rollback("ohlcv", reason="a vendor sends text")
    house.clock.advance(4.9)
    assert house.reader.mode("ohlcv") is ValidationMode.STRICT
    house.clock.advance(0.1)
    assert house.reader.mode("ohlcv") is ValidationMode.CANARY
    assert [entry.action for entry in house.log.verify().entries] == ["promote", "rollback"]


def test_a_reader_asks_once_in_five_seconds(house: House) -> None:
    for _ in range(100):
        house.reader.mode("ohlcv")
        house.clock.advance(0.1)
    assert house.records.asked in (2, 3)  # floats of a tenth


@pytest.mark.parametrize(
    "failure", [RegistryUnavailableError("down", url="http://r"), StoreError("the disk is gone")]
)
def test_records_out_of_reach_leave_what_was_known(
    house: House, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    house.see(1, 1)
    house.rollout.promote("ohlcv", 1)
    assert house.reader.mode("ohlcv") is ValidationMode.STRICT
    house.records.failure = failure
    house.clock.advance(60)
    assert house.reader.mode("ohlcv") is ValidationMode.STRICT
    assert "stays as it was" in caplog.text
    with pytest.raises(type(failure)):
        house.reader.mode("trades")
    house.records.failure = None
    house.rollout.rollback("ohlcv")
    house.clock.advance(5)
    assert house.reader.mode("ohlcv") is ValidationMode.CANARY


def test_a_tombstone_refuses_new_readers_with_its_reason(house: House) -> None:
    with pytest.raises(InvalidRequestError, match="needs a reason"):
        house.rollout.tombstone("ohlcv", 2, reason="")
    house.rollout.tombstone("ohlcv", 2, reason="volume was in lots")
    governed = house.reader.governed("ohlcv")
    with pytest.raises(TombstonedError, match="volume was in lots") as caught:
        governed.refuse_tombstoned("ohlcv", 2)
    assert (caught.value.subject, caught.value.version, caught.value.reason) == (
        "ohlcv",
        2,
        "volume was in lots",
    )
    governed.refuse_tombstoned("ohlcv", 1)
    assert governed.newest([1, 2]) == 1
    assert governed.newest([2]) is None
    assert governed.mode is None


@pytest.mark.parametrize(("where", "action"), [("refusal", "not_applied"), ("failure", "not_confirmed")])
def test_a_step_that_cannot_be_put_in_force_is_written_as_such(house: House, where: str, action: str) -> None:
    setattr(house.records, where, StoreError("the disk is full"))
    with pytest.raises(StoreError, match="the disk is full"):
        house.rollout.rollback("ohlcv", reason="x")
    step, undone = house.log.verify().entries
    assert (step.action, undone.action) == ("rollback", action)
    assert undone.evidence["entry"] == step.number
    assert "the disk is full" in undone.evidence["why"]


def test_a_step_whose_answer_got_lost_is_in_force(house: House) -> None:
    house.records.lost_answer = RegistryUnavailableError("no answer", url="http://r")
    entry = house.rollout.rollback("ohlcv")
    assert house.log.verify().entries == (entry,)
    assert house.reader.mode("ohlcv") is ValidationMode.CANARY


def test_a_window_longer_than_time_is_all_there_is(house: House) -> None:
    house.see(1, 1)
    entry = house.rollout.promote("ohlcv", 1, window_s=1e12)
    assert entry.evidence["since"] == "1970-01-01"


def test_nothing_is_put_in_force_that_cannot_be_written(house: House) -> None:
    house.see(1, 1)
    house.log.path.mkdir()
    with pytest.raises(StoreError):
        house.rollout.promote("ohlcv", 1)
    assert house.records.made == {}


OBSERVATIONS = st.lists(
    st.builds(
        Observation,
        version=st.integers(1, 3),
        hour=st.integers(-60, 2).map(lambda hour: 1_000 * HOUR + hour * HOUR),
        checked=st.integers(0, 5),
        failed=st.integers(0, 2),
    ),
    max_size=12,
)


@given(OBSERVATIONS, st.integers(1, 60), st.integers(0, HOUR - 1))
def test_a_promotion_follows_from_the_rows_within_the_window(
    observations: list[Observation], hours: int, past: int
) -> None:
    now = 1_000 * HOUR + past
    counted = [
        one
        for one in observations
        if one.version == 1 and any(now - hours * HOUR < one.hour + step for step in (0, HOUR))
    ]
    checked, failed = sum(one.checked for one in counted), sum(one.failed for one in counted)
    found = evidence(observations, 1, now=now, window_s=hours * HOUR / SECOND)
    assert (found["checked"], found["failed"]) == (checked, failed)
    if checked and not failed:
        judge_promotion("ohlcv", 1, found)
    else:
        with pytest.raises(PromotionRefusedError):
            judge_promotion("ohlcv", 1, found)


@given(
    st.lists(
        st.builds(
            Decision,
            at=st.just(0),
            action=st.sampled_from(["promote", "rollback", "tombstone"]),
            version=st.integers(1, 3),
            reason=st.sampled_from(["a", "b"]),
            entry=st.just("1:00"),
        )
    )
)
def test_the_last_word_on_each_thing_holds(decisions: list[Decision]) -> None:
    modes = [one.action for one in decisions if one.action != "tombstone"]
    mode = {"promote": ValidationMode.STRICT, "rollback": ValidationMode.CANARY}[modes[-1]] if modes else None
    reasons = {one.version: one.reason for one in decisions if one.action == "tombstone"}
    assert in_force(decisions) == Governed(mode, reasons)
