"""Act two: a year of minute bars from an exchange that fails in the ways real ones do."""

from __future__ import annotations

from qmtl.foundation.errors import MissingDataError, SeamlessSLAExceeded, SourceUnavailableError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.sla import SLAPolicy
from qmtl.foundation.timeline import Span
from qmtl.foundation.times import DAY, HOUR, iso, to_ns
from qmtl.interfaces.cli.progress import Bars
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.testing.exchange import (
    Altered,
    Cut,
    NoAnswer,
    Outage,
    ShortPage,
    SimulatedExchange,
    high_below_low,
)

SERIES = "ohlcv:binance:BTC/USDT:1m"
NAME = SeriesId.parse(SERIES)
YEAR = Span(to_ns("2023-01-01"), to_ns("2024-01-01"))
MARCH = Span(to_ns("2023-03-10"), to_ns("2023-03-11"))


def minute_bars(stage: Stage, provider: SeamlessDataProvider, exchange: SimulatedExchange) -> FetchResult:
    """Fill, break, heal and check; the last answer."""
    stage.act("Act two: a year of minute bars from a simulated exchange, by the unmodified ccxt client")
    stage.say(
        f"  The exchange answers at {exchange.url}; its first outage has begun: 10 March cannot be had."
    )
    exchange.begin(Outage(MARCH))
    _cold(stage, provider)
    exchange.recover()
    whole = _heal(stage, provider, exchange)
    _warm(stage, provider, whole)
    _corrupted(stage, provider, exchange)
    _deadline(stage, provider, exchange)
    return whole


def _fetch(provider: SeamlessDataProvider, span: Span, **options: object) -> FetchResult:
    with Bars() as bars:
        return provider.fetch(SERIES, span.start, span.end, on_progress=bars.backfilled, **options)  # type: ignore[arg-type]


def _cold(stage: Stage, provider: SeamlessDataProvider) -> None:
    try:
        with stage.timed("cold fetch of 525,600 bars, which the outage ends"):
            _fetch(provider, YEAR)
    except SourceUnavailableError as error:
        stage.error(error)
    states = provider.coverage(SERIES, YEAR.start, YEAR.end)
    stage.picture(states)
    stage.check(
        f"what came before the outage is committed: {states.counts['present']:,} bars stay",
        states.counts["present"] > 0 and states.present.hull.end <= MARCH.end,
    )


def _heal(stage: Stage, provider: SeamlessDataProvider, exchange: SimulatedExchange) -> FetchResult:
    stage.say("  The outage is over. The next connection will be cut in the middle of an answer.")
    missing = provider.coverage(SERIES, YEAR.start, YEAR.end).unknown
    before = len(exchange.requests)
    exchange.fail(Cut())
    with stage.timed("fetch of the same year: only what is missing is asked for"):
        whole = _fetch(provider, YEAR)
    asked = [one for one in exchange.requests[before:] if "startTime" in one.parameters]
    earliest = min(int(one.parameters["startTime"]) for one in asked) * 1_000_000
    stage.say(f"  {len(asked):,} requests, the earliest for {iso(earliest)}.")
    stage.check("no bar that was stored was asked for again", earliest >= missing.hull.start)
    truth = exchange.bars(NAME, YEAR)
    stage.check(
        f"all {truth.height:,} bars equal the exchange's own books, value by value", whole.frame.equals(truth)
    )
    return whole


def _warm(stage: Stage, provider: SeamlessDataProvider, whole: FetchResult) -> None:
    with stage.timed("warm fetch of the year"):
        again = provider.fetch(SERIES, YEAR.start, YEAR.end)
    stage.check("its fingerprint is the same", again.receipt.fingerprint == whole.receipt.fingerprint)
    with stage.timed("one day of it, from the cache"):
        day = provider.fetch(SERIES, YEAR.start + 100 * DAY, YEAR.start + 101 * DAY)
    stage.check("the cache served it", [str(s.tier) for s in day.receipt.served] == ["cache"])


def _corrupted(stage: Stage, provider: SeamlessDataProvider, exchange: SimulatedExchange) -> None:
    day = Span(YEAR.end, YEAR.end + DAY)
    stage.say("  The next page will come corrupted: a bar whose high lies below its low.")
    exchange.fail(Altered(high_below_low))
    try:
        _fetch(provider, day)
        stage.check("a corrupted page is refused", False)
    except MissingDataError as error:
        stage.error(error)
        stage.check("exactly one bar is missing", error.holes["unknown"].length == NAME.timeframe.step)
    aside = provider.store.quarantined(NAME, day)
    rule = aside["rule"].to_list()
    stage.check(f"the impossible row is in quarantine: {', '.join(rule)}", rule == ["quality.high_below_low"])
    healed = _fetch(provider, day)
    stage.check("asked again, the exchange answers well, and the day is whole", healed.frame.height == 1440)


def _deadline(stage: Stage, provider: SeamlessDataProvider, exchange: SimulatedExchange) -> None:
    months = Span(YEAR.end + DAY, YEAR.end + 61 * DAY)
    stage.say("  Sixty days more, in two seconds; but after forty pages the exchange will fall silent.")
    exchange.fail(ShortPage(1000), times=40)
    exchange.fail(NoAnswer())
    with stage.timed("fetch under a budget that cancels"):
        partial = _fetch(provider, months, sla=SLAPolicy(backfill_wait="2s", on_breach="partial"))
    for violation in partial.receipt.violations:
        stage.say(f"  violation: {violation}")
    counts = partial.coverage.counts
    stage.picture(partial.coverage)
    stage.check(
        f"the answer is partial and says so: {counts['present']:,} present, {counts['unknown']:,} unknown",
        min(counts["unknown"], counts["present"]) > 0 and partial.frame.height == counts["present"],
    )
    try:
        provider.fetch(SERIES, months.start, months.end, sla=SLAPolicy(sync_gap=HOUR // NAME.timeframe.step))
    except SeamlessSLAExceeded as error:
        stage.error(error)
