"""What workers send: each body is checked as a whole, and becomes the values that leases are made of."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_validator,
)

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import EARLIEST, LATEST, iso, to_ns
from qmtl.runtime.coordination.coordinator_client import MOST_RANGES
from qmtl.runtime.coordination.job_blocks import Outcome
from qmtl.runtime.coordination.job_plans import WantedRange
from qmtl.runtime.coordination.series_rests import MOST as MOST_RESTING
from qmtl.runtime.coordination.shard_leases import ShardRequest
from qmtl.runtime.coordination.shards import shard_span
from qmtl.runtime.io.rates import LONGEST_PAUSE_S
from qmtl.runtime.io.store.fencing import SHARD_STEPS
from qmtl.services.coordinator.job_taking import Take

# Of one claim; and of one renewal or end, which is done as a whole or not at all.
MOST_CLAIMED, MOST_HELD = 100, 60
# Seconds. etcd's own least is 2, and a worker that is dead for ten minutes should have been noticed.
LEAST_TTL, MOST_TTL = 2, 600

_MOST_SPANS = 10_000
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ValueError("it holds control characters, or halves of surrogate pairs")
    return text


def _no_slash(text: str) -> str:
    if "/" in text:
        raise ValueError("the id of a store holds no slash")
    return text


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a time as ISO 8601 in UTC, such as 2024-01-01T00:00:00Z")
    try:
        return to_ns(value)
    except InvalidRequestError as error:
        raise ValueError(f"{error.what}; {error.next_step}") from None


def _series(text: str) -> str:
    try:
        return SeriesId.parse(text).text
    except InvalidRequestError as error:
        raise ValueError(f"{error.what}; {error.next_step}") from None


def _lease_key(value: Any) -> Any:
    try:
        return LeaseKey.parse(_plain(value)) if isinstance(value, str) else value
    except InvalidRequestError as error:
        raise ValueError(f"{error.what}; {error.next_step}") from None


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
ClaimId = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_plain)]
_TIME_JSON = {"type": "string", "format": "date-time"}
Time = Annotated[int, BeforeValidator(_time), WithJsonSchema(_TIME_JSON)]
Key = Annotated[
    LeaseKey,
    BeforeValidator(_lease_key),
    WithJsonSchema({"type": "string", "description": "<store>/<series>/<shard>"}),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WantedShard(_Body):
    """A shard, and the bars that are missing in it, as spans `[start, end)` within it."""

    series: Annotated[str, Field(max_length=300), AfterValidator(_series)]
    shard: Annotated[StrictInt, Field(ge=-(2**31), lt=2**31)]
    cells: Annotated[list[tuple[Time, Time]], Field(max_length=_MOST_SPANS)]
    read_as_of: Time = 0

    def request(self, store: str) -> ShardRequest:
        """Raises `InvalidRequestError` for spans that are reversed, or not of this shard."""
        bounds = shard_span(self.shard, SHARD_STEPS * SeriesId.parse(self.series).timeframe.step)
        first, last = max(bounds.start, EARLIEST), min(bounds.end, LATEST)
        if first >= last:
            raise InvalidRequestError(
                f"there is no shard {self.shard} of {self.series}",
                why=f"it would lie before {iso(EARLIEST)} or after {iso(LATEST)}",
                next_step=f"shards are {SHARD_STEPS:,} bars each, counted from 1970",
            )
        for start, end in self.cells:
            if not first <= start < end <= last:
                raise InvalidRequestError(
                    f"a span of shard {self.shard} of {self.series} is reversed, empty, or not of that shard",
                    why=f"it is [{iso(start)}, {iso(end)}); the shard is [{iso(first)}, {iso(last)})",
                    next_step=f"shards are {SHARD_STEPS:,} bars each, counted from 1970; cut ranges at them",
                )
        cells = Coverage.of(*(Span(*span) for span in self.cells))
        return ShardRequest(LeaseKey(store, self.series, self.shard), cells, self.read_as_of)


class ClaimBody(_Body):
    """`claim_id` is made by the worker, so that it can ask again after a time-out, or else here."""

    worker: Name
    store: Annotated[Name, AfterValidator(_no_slash)]
    ttl_s: Annotated[StrictInt, Field(ge=LEAST_TTL, le=MOST_TTL)]
    keys: Annotated[list[WantedShard], Field(min_length=1, max_length=MOST_CLAIMED)]
    claim_id: ClaimId | None = None

    def requests(self) -> list[ShardRequest]:
        found = [one.request(self.store) for one in self.keys]
        if len({request.key for request in found}) < len(found):
            raise InvalidRequestError("a shard is named twice in one claim", next_step="name it once")
        return found


class HeldLease(_Body):
    lease_key: Key
    claim_id: ClaimId


class ProgressBody(_Body):
    """Bars answered for, of the bars that the whole backfill asks for."""

    done: Annotated[StrictInt, Field(ge=0, lt=2**53)]
    total: Annotated[StrictInt, Field(ge=0, lt=2**53)]

    @model_validator(mode="after")
    def _of_all(self) -> Self:
        if self.done > self.total:
            raise ValueError(f"{self.done} bars of {self.total} cannot be answered for")
        return self


class RenewBody(_Body):
    """Without leases, a sign of life of the worker."""

    worker: Name
    leases: Annotated[list[HeldLease], Field(max_length=MOST_HELD)] = []
    progress: ProgressBody | None = None

    def claims(self) -> dict[LeaseKey, str]:
        found = {one.lease_key: one.claim_id for one in self.leases}
        if len(found) < len(self.leases):
            raise InvalidRequestError("a lease is named twice in one renewal", next_step="name it once")
        return found

    def shown(self) -> ShardProgress | None:
        return None if self.progress is None else ShardProgress(self.progress.done, self.progress.total)


class CompleteBody(_Body):
    worker: Name
    claim_id: ClaimId
    lease_keys: Annotated[list[Key], Field(min_length=1, max_length=MOST_HELD)]
    as_of: Time


class FailBody(_Body):
    """Of a claim that is given up before its answer came, all keys that it had asked for are named.

    `is_away`: the source could not be reached, which counts as no attempt.
    """

    worker: Name
    claim_id: ClaimId
    lease_keys: Annotated[list[Key], Field(max_length=MOST_CLAIMED)]
    why: Annotated[str, Field(max_length=2_000)]
    is_away: StrictBool = False


JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Series = Annotated[str, Field(max_length=300), AfterValidator(_series)]


class RangeBody(_Body):
    """Bars of a series, `[start, end)`."""

    series: Series
    start: Time
    end: Time

    def range(self) -> WantedRange:
        if not self.start < self.end:
            raise InvalidRequestError(
                f"a range of {self.series} is reversed or empty",
                why=f"it is [{iso(self.start)}, {iso(self.end)})",
                next_step="give a start before the end",
            )
        return WantedRange(self.series, Span(self.start, self.end))


class JobBody(_Body):
    """`job` is made by who queues it, so that it can ask again after a time-out; `by` is who that is."""

    job: JobId
    store: Annotated[Name, AfterValidator(_no_slash)]
    by: Name
    ranges: Annotated[list[RangeBody], Field(min_length=1, max_length=MOST_RANGES)]


class TakeBody(_Body):
    """`venues`: a pattern, such as `binance*`. `take_id`: made by the worker; the same if it asks again.

    `turn`: how many shards it was given before. With it, a request that comes late takes nothing.
    `resting`: series of which it wants none now, because they have failed lately.
    """

    worker: Name
    take_id: ClaimId
    store: Annotated[Name, AfterValidator(_no_slash)]
    venues: Name = "*"
    ttl_s: Annotated[StrictInt, Field(ge=LEAST_TTL, le=MOST_TTL)]
    turn: Annotated[StrictInt, Field(ge=0, lt=2**53)] | None = None
    resting: Annotated[list[Series], Field(max_length=MOST_RESTING)] = []

    def asked(self) -> Take:
        resting = frozenset(self.resting)
        return Take(self.worker, self.take_id, self.store, self.venues, self.ttl_s, self.turn, resting)


class EndBody(_Body):
    """`away`: the source could not be reached. `released`: the worker leaves. Neither is a failed attempt."""

    number: Annotated[StrictInt, Field(ge=0, lt=2**31)]
    take_id: ClaimId
    outcome: Outcome
    why: Annotated[str, Field(max_length=2_000)] = ""


Positive = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
# A budget that gains less would be whole again after more years than there are times for.
Speed = Annotated[float, Field(ge=0.000_001, le=1_000_000, allow_inf_nan=False)]


class RateBody(_Body):
    """A budget holds `burst`, and gains `per_second`; all who share it say the same. taker: who asks."""

    venue: Name
    taker: Name
    cost: Positive
    per_second: Speed
    burst: Positive


class PauseBody(_Body):
    """No venue is known to name a pause that is longer than three days."""

    venue: Name
    seconds: Annotated[float, Field(gt=0, le=LONGEST_PAUSE_S, allow_inf_nan=False)]
