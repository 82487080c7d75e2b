"""Hooks on the leases of a fleet: a program hears of each that expired, failed, or was given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
# A clock may be so much further behind than coordinators know of each other.
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


class Shown(NamedTuple):
    """What a coordinator shows of its history: steps since a time, complete up to a commit.

    revision: of that commit. now: ns, by the clock of coordinators that is furthest behind.
    """

    steps: list[Mapping[str, Any]]
    revision: int
    now: int


@dataclass
class News:
    """Which steps are new, by the order in which they were stored: clocks may go wrong.

    since: ns; what is not known is dated later. revision: up to it all steps are known, but for some that a
    clock has dated earlier than was thought possible.
    """

    since: int
    revision: int
    _before: int = -1
    _told: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self._before = self.revision

    def of(self, shown: Shown) -> list[LeaseStep]:
        """Those not told yet. shown: since `since`, or earlier."""
        if shown.revision < self.revision:  # another database, or one restored: what it holds is all new
            self._before = self.revision = 0
            self._told = frozenset()
        recent = [step for step in shown.steps if self._before < step["revision"] <= shown.revision]
        new = sorted((one for one in recent if one["id"] not in self._told), key=lambda one: one["revision"])
        # One more time, for those that a clock which is not known of yet has dated earlier.
        self._told = frozenset(step["id"] for step in recent if step["revision"] > self.revision)
        self._before, self.revision, self.since = self.revision, shown.revision, shown.now - _APART
        return [_step(one) for one in new]


async def follow(http: CoordinatorHttp, hooks: Mapping[str, Hook]) -> None:
    """Call the hook of each event from now on, until cancelled. hooks: by the names of events."""
    news: News | None = None
    is_away = False
    while True:
        try:
            if news is None:
                first = await shown_since(http, LATEST)  # nothing is dated so late
                news = News(first.now - _APART, first.revision)
            shown = await shown_since(http, news.since)
            if shown.now - _APART < news.since:
                shown = await shown_since(http, shown.now - _APART)
            for step in news.of(shown):
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


async def shown_since(http: CoordinatorHttp, since: int) -> Shown:
    """The steps of leases since a time (ns), as the route answers them."""
    first = page = await _page(http, {"since": iso(since)})
    found: list[Mapping[str, Any]] = list(page["steps"])
    while page["next"] is not None:
        page = await _page(http, {"after": page["next"]})
        found += page["steps"]
    return Shown(found, first["revision"], to_ns(first["now"]))


async def _page(http: CoordinatorHttp, query: Mapping[str, str]) -> Any:
    return await http.ask("GET", f"/v1/history?{urlencode({**query, 'limit': _PAGE})}", HISTORY)


def _step(step: Mapping[str, Any]) -> LeaseStep:
    facts = (step["lease_key"], step["holder"], step["attempts"], step["why"])
    return LeaseStep(step["event"], *facts, to_ns(step["at"]), step.get("job"))


def _call(hook: Hook, step: LeaseStep) -> None:
    try:
        hook(step)
    except Exception as error:  # noqa: BLE001 - of somebody's own; the next step has its turn all the same
        backfill_log.error("hooks.broke", lease_key=step.lease_key, step=step.event, exc_info=error)
