"""What workers and people ask of a coordinator beside leases: jobs, their shards, and who is at work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.coordination.answer_shapes import JOB, JOBS, LEASES, ONE_JOB, SESSION, STATUS, TAKE
from qmtl.runtime.coordination.coordinator_answers import RefusedError
from qmtl.runtime.coordination.coordinator_http import CoordinatorHttp
from qmtl.runtime.coordination.job_blocks import Outcome
from qmtl.runtime.coordination.job_plans import WantedRange
from qmtl.runtime.coordination.lease_hooks import shown_since

_PAGE = 1_000
# As coordinators have them.
MOST_RANGES = 10_000
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TakenShard(NamedTuple):
    """A shard of a job to be filled: `[start, end)` (ns). attempts: that failed before."""

    job: str
    number: int
    take_id: str
    lease_key: str
    series: str
    start: int
    end: int
    attempts: int


class CoordinatorClient:
    """Used on one event loop. Answers are the JSON of the routes, where nothing else is said.

    Raises `CoordinatorUnavailableError`, and `LeaseError` for what the coordinator refuses.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._http = CoordinatorHttp(url, token)
        self.url = self._http.url

    # -- for people -------------------------------------------------------------------------------------

    async def queue(self, job: str, *, store_id: str, by: str, ranges: Iterable[WantedRange]) -> Any:
        """The job. May be repeated under the same id: it is queued once. Raises `InvalidRequestError`."""
        wanted = [
            {"series": one.series, "start": iso(one.span.start), "end": iso(one.span.end)} for one in ranges
        ]
        if len(wanted) > MOST_RANGES:
            raise InvalidRequestError(
                f"a job has at most {MOST_RANGES:,} ranges, and this one would have {len(wanted):,}",
                next_step="queue them as several jobs",
            )
        body = {"job": job, "store": store_id, "by": by, "ranges": wanted}
        return await self._http.ask("POST", "/v1/jobs", JOB, body)

    async def jobs(self) -> list[Any]:
        found: list[Any] = (await self._http.ask("GET", "/v1/jobs", JOBS))["jobs"]
        return found

    async def job(self, job: str) -> Any:
        """With its violations."""
        return await self._one_job("GET", job)

    async def cancel(self, job: str) -> Any:
        """Raises `InvalidRequestError` for a job that is not there."""
        return await self._one_job("DELETE", job)

    async def _one_job(self, method: str, job: str) -> Any:
        unknown = InvalidRequestError(
            f"there is no job {job!r}",
            next_step="'qmtl jobs' names those that are open, or ended within a week",
        )
        if _JOB_ID.fullmatch(job) is None:
            raise unknown
        try:
            return await self._http.ask(method, f"/v1/jobs/{job}", ONE_JOB)
        except RefusedError as error:
            raise unknown if error.status == 404 else error from None

    async def leases(self) -> list[Any]:
        """All that are known of."""
        found: list[Any] = []
        after: str | None = ""
        while after is not None:
            query = urlencode({"after": after, "limit": _PAGE})
            page = await self._http.ask("GET", f"/v1/leases?{query}", LEASES)
            found, after = found + page["leases"], page["next"]
        return found

    async def history(self, since: int) -> list[Any]:
        """The steps of leases since a time (ns)."""
        return list((await shown_since(self._http, since)).steps)

    # -- for workers ------------------------------------------------------------------------------------

    async def take(
        self,
        worker: str,
        take_id: str,
        *,
        turn: int,
        store_id: str,
        venues: str,
        ttl_s: int,
        resting: Sequence[str] = (),
    ) -> tuple[TakenShard | None, float]:
        """The next shard, held in the session of this worker; or None, and seconds until one may ask again.

        Who has not had an answer asks again under the same id, and is given the same shard. turn: how many it
        was given before; so a request that comes late, after the next one, takes nothing. resting: series of
        which it wants none now.
        """
        body = {"worker": worker, "take_id": take_id, "turn": turn, "store": store_id}
        body |= {"venues": venues, "ttl_s": ttl_s, "resting": list(resting)}
        found = await self._http.ask("POST", "/v1/jobs/take", TAKE, body)
        taken, wait_s = found["taken"], found["retry_after_ms"] / 1000
        if taken is None:
            return None, wait_s
        start, end = to_ns(taken["start"]), to_ns(taken["end"])
        place = (taken["job"], taken["number"], take_id, taken["lease_key"])
        return TakenShard(*place, taken["series"], start, end, taken["attempts"]), wait_s

    async def end(self, taken: TakenShard, outcome: Outcome, why: str) -> None:
        """Raises `LostError` if the shard is not held any more."""
        body = {
            "number": taken.number,
            "take_id": taken.take_id,
            "outcome": outcome.value,
            "why": why[:2_000],
        }
        await self._http.ask("POST", f"/v1/jobs/{quote(taken.job, safe='')}/end", STATUS, body)

    async def live(self, worker: str) -> None:
        """A sign of life. Raises `LostError` if its session has ended."""
        await self._http.ask("POST", "/v1/leases/renew", SESSION, {"worker": worker})

    async def close(self) -> None:
        await self._http.close()
