"""Leases of many machines, from a coordinator: the part of it that lives with a worker."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any

from qmtl.foundation.clock import Clock, SystemClock
from qmtl.foundation.errors import CoordinatorUnavailableError, InvalidRequestError, LeaseError
from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.times import iso
from qmtl.runtime.coordination.answer_shapes import SESSION, STATUS, claims
from qmtl.runtime.coordination.background_loop import BackgroundLoop
from qmtl.runtime.coordination.claim_messages import batches, claimed_of, wanted_json
from qmtl.runtime.coordination.coordinator_answers import BadAnswerError, LostError
from qmtl.runtime.coordination.coordinator_http import CoordinatorHttp, NotSentError
from qmtl.runtime.coordination.coordinator_rates import CoordinatorRates
from qmtl.runtime.coordination.lease_hooks import Hook, follow
from qmtl.runtime.coordination.shard_leases import Claimed, Granted, Held, ShardRequest
from qmtl.runtime.coordination.worker_leases import Ending, WorkerLeases

TTL_S = 15
# The coordinator changes so many leases at once, or none.
MOST_AT_ONCE = 60

# Work on a lease that is lost goes on for so long at most, and commits nothing meanwhile.
_WATCH_S = 0.25
# After these it is not known what was done.
_UNHEARD = (CoordinatorUnavailableError, BadAnswerError)
# Of a claim that was given up, or has ended.
_RETRY_AFTER_S = 0.2


class DistributedBackfillCoordinator:
    """A `ShardLeases` whose leases are kept by the coordinator at `url`, for workers on any machine.

    token: a bearer token, where the coordinator asks for one. ttl_s: seconds after which others may have the
    leases of a worker that is not heard of; it is heard of three times as often.
    on_expired, on_failed, on_violation: called from now on with each lease, of any worker, whose holder was
    not heard of in time, whose work has failed, or that was given up after too many attempts; and with each
    shard of a job of which the same is to be said. They are called
    in the thread of this object, which asks the coordinator every two seconds then, and must not block. What
    they raise is logged.

    Its methods raise `CoordinatorUnavailableError` where no lease can be had, and `LeaseError` for what the
    coordinator refuses. Requests and signs of life go from a thread of its own, which ends with `close`.
    """

    most_at_once = MOST_AT_ONCE

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ttl_s: int = TTL_S,
        clock: Clock | None = None,
        on_expired: Hook | None = None,
        on_failed: Hook | None = None,
        on_violation: Hook | None = None,
    ) -> None:
        hooks = {"on_expired": on_expired, "on_failed": on_failed, "on_violation": on_violation}
        for name, hook in hooks.items():
            if hook is not None and not callable(hook):
                raise InvalidRequestError(
                    f"{name}={hook!r} cannot be called", next_step="give a function of one LeaseStep"
                )
        self.worker = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.url = url
        self.ttl_s = ttl_s
        self._clock = clock or SystemClock()
        self.rates = CoordinatorRates(url, token, self._clock)
        self._http = CoordinatorHttp(url, token)
        self._loop = BackgroundLoop("qmtl-leases")
        # Both are touched on that loop alone.
        self._leases = WorkerLeases()
        self._living: asyncio.Task[None] | None = None
        by_event = {
            **dict.fromkeys(("expired", "job.expired"), on_expired),
            **dict.fromkeys(("failed", "job.failed"), on_failed),
            **dict.fromkeys(("abandoned", "job.violation"), on_violation),
        }
        wanted = {event: hook for event, hook in by_event.items() if hook is not None}
        self._following = self._loop.submit(follow(self._http, wanted)) if wanted else None

    # -- what backfills call, on loops of their own ---------------------------------------------------

    async def claim(self, requests: Sequence[ShardRequest], *, claim_id: str) -> list[Claimed]:
        return await self._loop.run(self._claim_all(list(requests), claim_id))

    async def renew(self, grants: Sequence[Granted], progress: ShardProgress) -> None:
        if grants:
            await self._loop.run(self._renew(list(grants), progress))

    def still_held(self, grants: Sequence[Granted]) -> None:
        self._require(grants)

    def lost(self, grants: Sequence[Granted]) -> Coroutine[Any, Any, LeaseError]:
        return self._lost_of(list(grants))

    async def _lost_of(self, grants: list[Granted]) -> LeaseError:
        return await self._loop.run(self._watch(grants))

    async def complete(self, grants: Sequence[Granted], *, as_of: int) -> None:
        if grants:
            await self._loop.run(self._complete(list(grants), as_of))

    async def fail(self, grants: Sequence[Granted], *, why: str, is_away: bool = False) -> None:
        if grants:
            await self._loop.run(self._fail(list(grants), why, is_away))

    def close(self) -> None:
        """Say what is owed, if the coordinator answers at once, and end the thread."""
        if not self._loop.is_started:
            return
        if self._following is not None:
            self._following.cancel()
        try:
            self._loop.submit(self._leave()).result(_LEAVE_S)
        except TimeoutError:
            backfill_log.warning("leases.left", worker=self.worker, owed=len(self._leases.owed))
        self._loop.close()

    # -- on the loop of the thread --------------------------------------------------------------------

    async def _claim_all(self, requests: list[ShardRequest], claim_id: str) -> list[Claimed]:
        answers: list[Claimed] = []
        try:
            for batch in batches(requests, MOST_AT_ONCE):
                answers += await self._claim(batch, claim_id)
        except BaseException:
            granted = [answer for answer in answers if isinstance(answer, Granted)]
            self._leases.end(granted)
            self._owe_failure(claim_id, [grant.key for grant in granted], "the claim could not be completed")
            raise
        return answers

    async def _claim(self, requests: list[ShardRequest], claim_id: str) -> list[Claimed]:
        keys = [request.key for request in requests]
        try:
            try:
                answers, is_sure = await self._asked(requests, claim_id), True
            except NotSentError:
                raise
            except CoordinatorUnavailableError:
                # It may have been done. Who asks again under the same id is granted what it holds.
                answers, is_sure = await self._asked(requests, claim_id), False
        except LostError:
            return [Held(key, "a claim that has ended", None, _RETRY_AFTER_S) for key in keys]
        except (*_UNHEARD, asyncio.CancelledError) as error:
            if not isinstance(error, NotSentError):
                self._owe_failure(claim_id, keys, "no answer came to the claim")
            raise
        if not is_sure and not all(isinstance(answer, Granted) for answer in answers):
            # The first message may yet be granted what the second was not, and nobody would know.
            self._leases.end(answer for answer in answers if isinstance(answer, Granted))
            self._owe_failure(claim_id, keys, "the claim was given up")
            return [Held(key, "a claim that was given up", None, _RETRY_AFTER_S) for key in keys]
        return answers

    async def _asked(self, requests: list[ShardRequest], claim_id: str) -> list[Claimed]:
        sent, store = self._clock.monotonic(), requests[0].key.store_id
        body = {
            "worker": self.worker,
            "claim_id": claim_id,
            "store": store,
            "ttl_s": self.ttl_s,
            "keys": [wanted_json(request) for request in requests],
        }
        found = await self._http.post("claim", body, claims(len(requests)), about=requests[0].key)
        answers = [
            claimed_of(request.key, answer, claim_id)
            for request, answer in zip(requests, found["answers"], strict=True)
        ]
        granted = [answer for answer in answers if isinstance(answer, Granted)]
        self._leases.grant(granted, found["session"], sent=sent, expires_in_s=found["expires_in_s"])
        self._live_on()
        return answers

    async def _watch(self, grants: list[Granted]) -> LeaseError:
        while True:
            try:
                self._require(grants)
            except LeaseError as lost:
                return lost
            await asyncio.sleep(_WATCH_S)

    async def _renew(self, grants: list[Granted], progress: ShardProgress) -> None:
        self._require(grants)
        sent = self._clock.monotonic()
        body = {
            "worker": self.worker,
            "leases": [{"lease_key": str(grant.key), "claim_id": grant.claim_id} for grant in grants],
            "progress": progress._asdict(),
        }
        try:
            found = await self._http.post("renew", body, SESSION, about=grants[0].key)
        except LostError as refused:
            raise self._lost(grants, refused) from None
        except _UNHEARD as error:
            self._note(error)
            self._require(grants)  # nobody is shown the progress; the leases are held all the same
            return
        self._leases.renew(found["session"], sent=sent, expires_in_s=found["expires_in_s"])
        self._require(grants)

    async def _complete(self, grants: list[Granted], as_of: int) -> None:
        self._require(grants)
        body = self._ending_of(grants) | {"as_of": iso(as_of)}
        try:
            await self._http.post("complete", body, STATUS, about=grants[0].key)
        except LostError as refused:
            raise self._lost(grants, refused) from None
        except _UNHEARD as error:
            self._note(error)
            # The bars are stored. To say so twice is no harm.
            self._owe(Ending("complete", body))
        self._leases.end(grants)

    async def _fail(self, grants: list[Granted], why: str, is_away: bool) -> None:
        self._leases.end(grants)
        ending = Ending("fail", self._ending_of(grants) | {"why": why[:2_000], "is_away": is_away})
        try:
            await self._http.post(ending.path, ending.body, STATUS, about=grants[0].key)
        except _UNHEARD as error:
            self._note(error)
            self._owe(ending)

    def _ending_of(self, grants: list[Granted]) -> dict[str, Any]:
        return {
            "worker": self.worker,
            "claim_id": grants[0].claim_id,
            "lease_keys": [str(grant.key) for grant in grants],
        }

    def _require(self, grants: Sequence[Granted]) -> None:
        self._leases.require(grants, self._clock.monotonic())

    def _lost(self, grants: list[Granted], refused: LostError) -> LeaseError:
        lost = refused.lost or frozenset(str(grant.key) for grant in grants)
        self._leases.lose(lost)
        first = next((grant.key for grant in grants if str(grant.key) in lost), grants[0].key)
        return LeaseError(
            "the lease is not held by this claim any more",
            lease_key=str(first),
            series=first.series,
            why=refused.why,
            next_step="claim the shard again if bars are still missing",
        )

    def _note(self, error: CoordinatorUnavailableError | BadAnswerError) -> None:
        """What is asked again needs no word, unless something else than a coordinator answers."""
        if isinstance(error, BadAnswerError):
            backfill_log.warning("leases.bad_answer", worker=self.worker, error=error.what, why=error.why)

    # -- signs of life ---------------------------------------------------------------------------------

    def _owe(self, ending: Ending) -> None:
        self._leases.owed.append(ending)
        self._live_on()

    def _owe_failure(self, claim_id: str, keys: list[LeaseKey], why: str) -> None:
        texts = [str(key) for key in keys]
        body = {"worker": self.worker, "claim_id": claim_id, "lease_keys": texts, "why": why}
        self._owe(Ending("fail", body))

    def _live_on(self) -> None:
        if self._living is None or self._living.done():
            self._living = asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        """While anything is held or owed, be heard of three times in a lifetime."""
        while self._leases.owed or len(self._leases):
            await self._say_owed()
            await asyncio.sleep(self.ttl_s / 3)
            if len(self._leases):
                await self._renew_session()

    async def _renew_session(self) -> None:
        sent = self._clock.monotonic()
        try:
            found = await self._http.post("renew", {"worker": self.worker}, SESSION, about=None)
        except LostError as refused:
            backfill_log.warning("leases.lost", worker=self.worker, leases=len(self._leases), why=refused.why)
            self._leases.lose_all()
        except (CoordinatorUnavailableError, LeaseError) as error:
            backfill_log.warning("leases.not_renewed", worker=self.worker, error=error.what, why=error.why)
        else:
            self._leases.renew(found["session"], sent=sent, expires_in_s=found["expires_in_s"])

    async def _say_owed(self) -> None:
        while self._leases.owed:
            ending = self._leases.owed[0]
            try:
                await self._http.post(ending.path, ending.body, STATUS, about=None)
            except _UNHEARD as error:
                self._note(error)
                return  # with the next sign of life
            except (LostError, LeaseError) as refused:
                backfill_log.warning("leases.ending_refused", worker=self.worker, why=str(refused))
            self._leases.owed.remove(ending)

    async def _leave(self) -> None:
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait({self._living})
        await self._say_owed()
        await self._http.close()


_LEAVE_S = 2.0
