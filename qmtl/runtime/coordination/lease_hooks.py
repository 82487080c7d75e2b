"""Hooks on the leases of a fleet: a program hears of each that expired, failed, or was given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from qmtl.foundation.errors import CoordinatorUnavailableError, LeaseError
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.times import LATEST, SECOND, iso, to_ns
from qmtl.runtime.coordination.answer_shapes import HISTORY
from qmtl.runtime.coordination.coordinator_answers import BadAnswerError
from qmtl.runtime.coordination.coordinator_http import CoordinatorHttp

# How often the coordinator is asked for news.
FOLLOW_S = 2.0
# The clocks of coordinators may be so far apart: what one of them dates earlier is looked for so long.
_APART = 30 * SECOND
_PAGE = 500


class LeaseStep(NamedTuple):
    """A step in the life of a lease, or of a shard of a job, of any worker.

    attempts: up to now. at: ns, by a coordinator's clock. job: of a step of a job, whose events are
    `job.expired`, `job.failed`, `job.violation`.
    """

    event: str
    lease_key: str
    holder: str | None
    attempts: int
    why: str | None
    at: int
    job: str | None = None


Hook = Callable[[LeaseStep], None]


@dataclass
class News:
    """Which steps are new. `since`: ns; what came before it is none of ours."""

    since: int
    _seen: dict[str, int] = field(default_factory=dict)

    @property
    def from_time(self) -> int:
        """What is to be asked for."""
        newest = max(self._seen.values(), default=self.since)
        return max(self.since, newest - _APART)

    def of(self, steps: list[Mapping[str, Any]]) -> list[LeaseStep]:
        found = []
        for step in steps:
            at = to_ns(step["at"])
            if step["id"] not in self._seen:
                self._seen[step["id"]] = at
                facts = (step["lease_key"], step["holder"], step["attempts"], step["why"])
                found.append(LeaseStep(step["event"], *facts, at, step.get("job")))
        first = self.from_time
        self._seen = {one: at for one, at in self._seen.items() if at >= first}
        return found


async def follow(http: CoordinatorHttp, hooks: Mapping[str, Hook]) -> None:
    """Call the hook of each event from now on, until cancelled. hooks: by the names of events."""
    news: News | None = None
    is_away = False
    while True:
        try:
            if news is None:
                # By the clock of the coordinator; nothing is dated so late.
                news = News(to_ns((await _page(http, {"since": iso(LATEST)}))["now"]))
            for step in news.of(await steps_since(http, news.from_time)):
                if step.event in hooks:
                    _call(hooks[step.event], step)
            is_away = False
        except (CoordinatorUnavailableError, BadAnswerError) as error:
            if not is_away:
                backfill_log.warning("hooks.waiting", error=error.what, why=error.why)
            is_away = True  # what happens meanwhile is heard of later
        except LeaseError as refused:
            backfill_log.error("hooks.refused", error=refused.what, why=refused.why)
            return
        await asyncio.sleep(FOLLOW_S)


async def steps_since(http: CoordinatorHttp, since: int) -> list[Mapping[str, Any]]:
    """The steps of leases since a time (ns), as the route answers them."""
    found: list[Mapping[str, Any]] = []
    page = await _page(http, {"since": iso(since)})
    found += page["steps"]
    while page["next"] is not None:
        page = await _page(http, {"after": page["next"]})
        found += page["steps"]
    return found


async def _page(http: CoordinatorHttp, query: Mapping[str, str]) -> Any:
    return await http.ask("GET", f"/v1/history?{urlencode({**query, 'limit': _PAGE})}", HISTORY)


def _call(hook: Hook, step: LeaseStep) -> None:
    try:
        hook(step)
    except Exception as error:  # noqa: BLE001 - of somebody's own; the next step has its turn all the same
        backfill_log.error("hooks.broke", lease_key=step.lease_key, step=step.event, exc_info=error)
