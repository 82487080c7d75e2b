"""One connection to Polygon's API: under our rate budget, with its key, its errors judged and retried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from qmtl.foundation.certificates import advice, tls_problem, trusted_context
from qmtl.foundation.clock import Clock
from qmtl.foundation.errors import InvalidRequestError, MissingDependencyError, SourceUnavailableError
from qmtl.foundation.observability.log import backfill_log
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import iso
from qmtl.foundation.words import counted
from qmtl.runtime.io.rates import PATIENCE_S, RateBudget
from qmtl.runtime.io.retries import Again, GaveUpError, retried, retry_after

if TYPE_CHECKING:
    import aiohttp

_SOURCE = "polygon"


class RefusedError(Exception):
    """The source refuses a request: its status, what it says, and when it may be asked again."""

    def __init__(self, status: int, text: str, after_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.after_s = after_s


@dataclass
class PolygonClient:
    """One session of HTTP on one event loop. The key is a header of every request, and in no address."""

    url: str
    key: str = field(repr=False)
    budget: RateBudget
    timeout_s: float
    clock: Clock
    session: aiohttp.ClientSession | None = None

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON of an answer. Raises `RefusedError`, and what aiohttp raises."""
        try:
            import aiohttp
        except ImportError:
            raise MissingDependencyError("aiohttp", extra="polygon") from None
        if self.session is None:
            self.session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
                headers={"Authorization": f"Bearer {self.key}"},
                connector=aiohttp.TCPConnector(ssl=trusted_context()),
                trust_env=True,
            )
        await self.budget.take()
        # A redirection could lead the key elsewhere.
        async with self.session.get(f"{self.url}{path}", allow_redirects=False) as response:
            body = await response.read()
            if response.status != 200:
                raise await self._refused(response.status, response.headers, body)
        return _object(body)

    async def _refused(self, status: int, headers: Mapping[str, str], body: bytes) -> RefusedError:
        after_s = retry_after(headers, self.clock.now())
        if status == 429:
            # Without a time of its own, until the budget allows the next request anyway.
            after_s = 1.0 / self.budget.per_second if after_s is None else after_s
            await self.budget.pause(after_s)
        return RefusedError(status, _text(body), after_s)

    async def close(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            await session.close()


def _object(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")
    return found


def _text(body: bytes) -> str:
    """What an error says, on one line."""
    try:
        found = _object(body)
        text = str(found.get("error") or found.get("message") or found.get("status") or "")
    except ValueError:
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:300]


def judge(error: Exception) -> Again | None:
    """Which errors may pass by themselves: of the network, of servers, and of answers that broke off."""
    import aiohttp

    if tls_problem(error) is not None:
        return None
    if isinstance(error, RefusedError):
        if error.status == 429:
            after_s = error.after_s or 0.0
            return Again(after_s) if after_s <= PATIENCE_S else None
        return Again(error.after_s) if error.status >= 500 else None
    passing = isinstance(error, aiohttp.ClientError | TimeoutError | OSError | ValueError)
    return Again() if passing and not isinstance(error, InvalidRequestError) else None


@dataclass(frozen=True, slots=True)
class PolygonRequest:
    """The series and span of a request: for retries, errors and logs."""

    client: PolygonClient
    series: SeriesId
    span: Span

    async def answer(self, path: str) -> dict[str, Any]:
        """The answer to one request, retried where that is safe, its errors raised as ours."""
        try:
            return await retried(lambda: self.client.get(path), judge, self._log)
        except GaveUpError as error:
            cause = error.__cause__
            times = counted(error.attempts, "time")
            raise self.unavailable(
                f"asked {times}; the last answer was {type(cause).__name__}: {cause}",
                # An answer that is no JSON may be of these bars alone.
                is_away=not isinstance(cause, ValueError),
            ) from cause
        except RefusedError as error:
            raise self.unavailable(str(error), status=error.status) from error
        except (OSError, ValueError) as error:  # of TLS: all others are asked again
            if isinstance(error, InvalidRequestError):
                raise
            raise self.unavailable(f"{type(error).__name__}: {error}", tls=tls_problem(error)) from error

    def cursor(self, answer: Mapping[str, Any]) -> str | None:
        """The path of the next page; None where there is none.

        Only path and query are taken: whatever host an answer names, the key goes to ours alone.
        """
        address = answer.get("next_url")
        if not address:
            return None
        parts = urlsplit(str(address))
        if not parts.path.startswith("/"):
            raise self.unavailable(f"its next page has the address {address!r}")
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    async def knows(self, ticker: str) -> bool:
        """Whether the source has, or had, such a ticker."""
        for active in ("true", "false"):
            query = urlencode({"ticker": ticker, "active": active, "limit": 1})
            if (await self.answer(f"/v3/reference/tickers?{query}")).get("results"):
                return True
        return False

    def unavailable(
        self, why: str, *, status: int | None = None, tls: str | None = None, is_away: bool = False
    ) -> SourceUnavailableError:
        next_step = "see whether the service is reachable from here, then ask again for what is missing"
        if status in (401, 403):
            next_step = "see whether the key is right, and whether your plan has this range and these bars"
        return SourceUnavailableError(
            f"{_SOURCE} cannot be read",
            source=_SOURCE,
            is_away=is_away,
            series=self.series,
            span=self.span,
            why=f"{tls} ({why})" if tls else why,
            next_step=advice(tls) if tls else next_step,
        )

    def _log(self, error: Exception, pause_s: float) -> None:
        backfill_log.warning(
            "backfill.retry",
            node_id=str(self.series),
            interval=str(self.series.timeframe),
            start=iso(self.span.start),
            end=iso(self.span.end),
            source=_SOURCE,
            error=f"{type(error).__name__}: {error}"[:500],
            pause_s=round(pause_s, 3),
        )
