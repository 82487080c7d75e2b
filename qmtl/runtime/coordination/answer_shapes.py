"""What the answers of a coordinator look like, field by field; more fields than these are no mistake."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.leases import LeaseKey
from qmtl.foundation.times import to_ns

Shape: TypeAlias = TypeAdapter[Any]


def mistake(answer: object, shape: Shape) -> str | None:
    """The first difference between an answer and its shape; None if there is none."""
    try:
        # Strictly: no text becomes a number.
        shape.validate_python(answer, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        return f"{place}: {first['msg']}"
    return None


def _read_by(reader: Callable[[str], object]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            reader(text)
        except InvalidRequestError as error:
            raise ValueError(error.what) from error
        return text

    return AfterValidator(check)


Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[str, _read_by(to_ns)]
Key = Annotated[str, _read_by(LeaseKey.parse)]


class Session(TypedDict):
    session: str
    expires_in_s: Seconds


class Progress(TypedDict):
    done: Count
    total: Count


class Ended(TypedDict):
    holder: str
    why: str
    at: Time | None


class GrantedAnswer(TypedDict):
    state: Literal["granted"]
    ended: NotRequired[Ended | None]


class HeldAnswer(TypedDict):
    state: Literal["held"]
    holder: str
    retry_after_ms: Count
    progress: NotRequired[Progress | None]
    ended: NotRequired[Ended | None]


class DoneAnswer(TypedDict):
    state: Literal["done"]
    as_of: Time


class Claimed(Session):
    answers: list[Annotated[GrantedAnswer | HeldAnswer | DoneAnswer, Field(discriminator="state")]]


class Violation(TypedDict):
    attempts: Count
    why: str


class Lease(TypedDict):
    lease_key: Key
    state: str
    attempts: Count
    holder: str | None
    progress: NotRequired[Progress | None]
    why: str | None
    since: str
    violation: Violation | None


class Leases(TypedDict):
    leases: list[Lease]
    next: str | None


class Step(TypedDict):
    id: str
    at: Time
    event: str
    job: NotRequired[str | None]
    lease_key: Key | None
    holder: str | None
    attempts: Count
    why: str | None
    revision: Count


class History(TypedDict):
    steps: list[Step]
    next: str | None
    now: Time
    revision: Count


class Away(TypedDict):
    shards: Count
    until: str
    why: str


class Job(TypedDict):
    job: str
    by: str
    shards: Count
    queued: Count
    claimed: Count
    done: Count
    violations: Count
    ended: str | None
    away: NotRequired[Away | None]


class Violated(Violation):
    lease_key: Key


class OneJob(Job):
    violated: list[Violated]


class Jobs(TypedDict):
    jobs: list[Job]


class Taken(TypedDict):
    job: str
    number: Count
    lease_key: Key
    series: str
    start: Time
    end: Time
    attempts: Count


class Take(TypedDict):
    taken: Taken | None
    retry_after_ms: Count


class Rate(TypedDict):
    wait_s: Seconds
    pause_s: Seconds
    sharers: Count


class Status(TypedDict):
    status: str


SESSION: Shape = TypeAdapter(Session)
STATUS: Shape = TypeAdapter(Status)
LEASES: Shape = TypeAdapter(Leases)
HISTORY: Shape = TypeAdapter(History)
JOB: Shape = TypeAdapter(Job)
ONE_JOB: Shape = TypeAdapter(OneJob)
JOBS: Shape = TypeAdapter(Jobs)
TAKE: Shape = TypeAdapter(Take)
RATE: Shape = TypeAdapter(Rate)


@lru_cache(maxsize=256)
def claims(count: int) -> Shape:
    """The answer to a claim of so many shards."""

    def check(found: Claimed) -> Claimed:
        if len(found["answers"]) != count:
            raise ValueError(f"{len(found['answers'])} answers where {count} were asked for")
        return found

    return TypeAdapter(Annotated[Claimed, AfterValidator(check)])
