"""Several series fetched together give what each gives by itself: answer for answer, error for error."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from prometheus_client import CollectorRegistry

import qmtl
from qmtl.foundation.calendars import calendar_named
from qmtl.foundation.errors import QmtlError, first_of
from qmtl.foundation.frames import stamps
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Coverage, Span
from qmtl.foundation.times import DAY, HOUR, MINUTE, to_ns
from qmtl.runtime.io.sql import blocks, paged, plans, rewrite_plan, transaction
from qmtl.runtime.io.sql.sqlite.embedded import EmbeddedStore
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.memory import MemoryStore
from qmtl.runtime.io.store.values import Write
from qmtl.runtime.sdk.provider import SeamlessDataProvider
from qmtl.runtime.sdk.results import FetchResult
from qmtl.runtime.sdk.results_many import FetchManyResult
from qmtl.runtime.testing.bars import synthetic_bars
from qmtl.runtime.testing.clock import FakeClock
from qmtl.runtime.testing.vendors import ScriptedVendor

# A Tuesday; the exchange is open from 14:30 to 21:00.
DAWN = to_ns("2024-01-02T12:00:00Z")
HORIZON = 2 * DAY
NAMES = [
    "ohlcv:coin:A/USDT:1m",
    "ohlcv:coin:B/USDT:5m",
    "ohlcv:coin:C/USDT:1h",
    "ohlcv:coin:D/USDT:1d",
    "ohlcv:nyse:E:1m",
    "ohlcv:nyse:F:5m",
    "ohlcv:nyse:G:1d",
    "ohlcv:served:H/USDT:1m",
    "ohlcv:served:I/USDT:5m",
    "ohlcv:down:J/USDT:1m",
    "ohlcv:coin:NEVER/USDT:1m",
]
STRANGE = ["ohlcv:coin:A/USDT:7m", "nonsense"]
NEEDS_A_VENDOR = ("ohlcv:served:", "ohlcv:down:")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bars meet every way in which chunks and their pages are cut, joined and folded."""
    monkeypatch.setattr(rewrite_plan, "FULL", 64)
    monkeypatch.setattr(rewrite_plan, "SMALL", 32)
    monkeypatch.setattr(plans, "FEW", 8)
    monkeypatch.setattr(paged, "PAGE_ROWS", 8)
    monkeypatch.setattr(transaction, "MANY_HOT", 20)
    monkeypatch.setattr(transaction, "_COUNT_EVERY", 2)
    monkeypatch.setattr(blocks, "_STRETCH_ROWS", 200)
    monkeypatch.setattr(blocks, "_FEW", 2)


# -- what was stored


@dataclass(frozen=True)
class Deed:
    """One commit: what is written over a range of one series."""

    series: str
    kind: str
    span: Span
    seed: int


KINDS = ["bars", "bars", "bars", "gaps", "absent", "hot", "spiked", "stale", "no volume", "refused"]
ranges = st.tuples(st.integers(0, 48), st.integers(1, 24)).map(
    lambda pair: Span(DAWN + pair[0] * HOUR, DAWN + min(48, pair[0] + pair[1]) * HOUR + HOUR)
)
deeds = st.builds(
    Deed,
    st.sampled_from(NAMES[:-1]),
    st.sampled_from(KINDS),
    st.one_of(st.just(Span(DAWN, DAWN + HORIZON)), ranges),
    st.integers(0, 5),
)


def grid_of(series: SeriesId) -> Grid:
    name = "XNYS" if series.venue == "nyse" else "24x7"
    return Grid(series.timeframe, calendar_named(name))


def write_of(deed: Deed) -> Write | None:
    """The commit; None where the range holds no bar of the series."""
    series = SeriesId.parse(deed.series)
    grid = grid_of(series)
    span = grid.align(deed.span)
    answered = Coverage.of(span)
    frame = synthetic_bars(series, span, seed=deed.seed, grid=grid)
    if frame.is_empty():
        return None
    row = pl.int_range(frame.height)
    write = Write("v", DAWN, frame, answered=answered)
    match deed.kind:
        case "gaps":
            return replace(write, frame=frame.filter(row % 7 > deed.seed))
        case "absent":
            until = DAWN + 90 * DAY if deed.seed else DAWN + DAY
            return Write("v", DAWN, absent=answered, absent_until=until)
        case "hot":
            few = frame.filter(row % 11 == deed.seed).head(7)
            return replace(write, frame=few, answered=grid.cells(stamps(few)))
        case "spiked":
            high = pl.when(row % 50 == 30).then(pl.col("high") * 100).otherwise("high").alias("high")
            return replace(write, frame=frame.with_columns(high))
        case "stale":
            flat = [pl.col("open").first().alias(name) for name in ("open", "high", "low", "close")]
            return replace(write, frame=frame.with_columns(flat))
        case "no volume":
            return replace(write, frame=frame.with_columns(volume=pl.lit(None, pl.Float64)))
        case "refused":
            first = frame.head(3)
            impossible = first.with_columns(high=pl.col("low") - 1, rule=pl.lit("row.high_low"))
            cells = grid.cells(stamps(first))
            return Write(
                "v",
                DAWN,
                retracted=cells,
                refused=cells,
                refused_until=DAWN + 90 * DAY,
                quarantine=impossible,
            )
    return write


class Scene(NamedTuple):
    """What is stored where, what is asked, and how. flip: which of the chunks is damaged, if any."""

    deeds: list[Deed]
    asked: list[str]
    span: Span
    options: dict[str, Any]
    is_embedded: bool
    cache_bytes: int
    flip: int | None
    as_of_deed: int | None
    warm: Span | None


@st.composite
def scenes(draw: Any) -> Scene:
    embedded = draw(st.booleans())
    minutes = st.integers(-30, HORIZON // MINUTE + 30)
    cuts = draw(st.tuples(minutes, minutes))
    span = Span(DAWN + min(cuts) * MINUTE, DAWN + max(cuts) * MINUTE)
    done = draw(st.lists(deeds, max_size=12))
    options: dict[str, Any] = {"partial_ok": draw(st.booleans())}
    options["strategy"] = draw(st.sampled_from(["SEAMLESS", "FAIL_FAST", "AUTO_BACKFILL"]))
    options["fill"] = draw(st.sampled_from([None, None, "flat", "null"]))
    return Scene(
        done,
        draw(st.lists(st.sampled_from([*NAMES, *STRANGE]), min_size=1, unique=True)),
        span,
        options,
        embedded,
        # Room for nothing or for all: what a small cache still has depends on the order of reading.
        draw(st.sampled_from([0, 1 << 24])),
        draw(st.one_of(st.none(), st.none(), st.integers(0, 50))) if embedded else None,
        draw(st.one_of(st.none(), st.none(), st.integers(0, 20))),
        draw(st.one_of(st.none(), st.just(Span(DAWN, DAWN + HORIZON)), ranges)),
    )


# -- two providers that have seen the same


class Side(NamedTuple):
    """A provider over a store of its own, and the metrics that it counts."""

    provider: SeamlessDataProvider
    store: Store
    registry: CollectorRegistry
    points: list[int]


@contextmanager
def side(scene: Scene) -> Iterator[Side]:
    clock = FakeClock("2024-02-01T00:00:30Z")
    registry = CollectorRegistry()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars"

        def opened() -> Store:
            return EmbeddedStore(path, clock=clock) if scene.is_embedded else MemoryStore(clock=clock)

        store = opened()
        points = []
        for deed in scene.deeds:
            write = write_of(deed)
            if write is not None:
                points.append(store.commit(SeriesId.parse(deed.series), write).as_of)
        if scene.flip is not None:
            store.close()
            flip_a_byte(path, scene.flip)
            store = opened()
        try:
            with SeamlessDataProvider(
                store,
                vendors={"ohlcv:served:*": ScriptedVendor(page_rows=100), "ohlcv:down:*": Down()},
                calendars={"ohlcv:nyse:*": "XNYS"},
                cache_bytes=scene.cache_bytes,
                clock=clock,
                metrics_registry=registry,
                progress=False,
            ) as provider:
                yield Side(provider, store, registry, points)
        finally:
            store.close()


class Down:
    """A vendor that is out of reach."""

    def pages(self, series: SeriesId, span: Span) -> Any:
        raise qmtl.SourceUnavailableError("the exchange is on holiday", source="down", series=series)


def flip_a_byte(path: Path, which: int) -> None:
    """Change one byte of one of the chunks, if there is any."""
    connection = sqlite3.connect(path / "bars.sqlite")
    chunks = connection.execute("SELECT chunk, data FROM blob ORDER BY chunk").fetchall()
    if chunks:
        chunk, data = chunks[which % len(chunks)]
        middle = len(data) // 2
        broken = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        connection.execute("UPDATE blob SET data = ? WHERE chunk = ?", (broken, chunk))
        connection.commit()
    connection.close()


# -- compared


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """When what was read was committed depends on what was committed for other series meanwhile."""
    return {
        key: value
        for key, value in document.items()
        if key not in ("as_of", "as_of_iso", "seconds", "address")
    }


def plain_error(error: Any) -> Any:
    facts = {
        key: value
        for key, value in vars(error).items()
        if key not in ("others", "report", "path", "__notes__")
    }
    report = getattr(error, "report", None)
    shown = None if report is None else without_times(report.to_json())
    return type(error), facts, shown, [plain_error(other) for other in error.others]


def assert_same(together: FetchResult, alone: FetchResult) -> None:
    assert_frame_equal(together.frame, alone.frame, check_exact=True)
    assert together.coverage == alone.coverage
    assert without_times(together.report.to_json()) == without_times(alone.report.to_json())
    assert without_times(together.receipt.to_json()) == without_times(alone.receipt.to_json())


def counted(registry: CollectorRegistry) -> dict[Any, float]:
    """Every count; how long things took is left out, as is what holds for the process."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if metric.type == "counter" and not sample.name.endswith("_created")
    }


def by_themselves(
    ask: Callable[[str], FetchResult], names: list[str]
) -> tuple[dict[str, FetchResult], dict[str, QmtlError]]:
    results, errors = {}, {}
    for name in names:
        try:
            results[name] = ask(name)
        except QmtlError as error:
            errors[name] = error
    return results, errors


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(scenes())
def test_a_panel_is_the_loop(scene: Scene) -> None:
    with side(scene) as one, side(scene) as other:
        assert one.points == other.points
        options = dict(scene.options)
        if scene.as_of_deed is not None and one.points:
            options["as_of"] = one.points[scene.as_of_deed % len(one.points)]
        if scene.warm is not None:
            for each in (one, other):
                by_themselves(
                    lambda name, each=each: each.provider.fetch(name, *scene.warm, partial_ok=True),  # type: ignore[misc]
                    [name for name in scene.asked if not name.startswith(NEEDS_A_VENDOR)],
                )
        for _ in range(2):  # the second time from the cache, where there is room
            check_once(scene, one, other, options)
        if options["partial_ok"]:
            assert counted(one.registry) == counted(other.registry)
            archived = [sorted(map(archived_text, each.store.reports())) for each in (one, other)]
            assert archived[0] == archived[1]


def archived_text(report: dict[str, Any]) -> str:
    """Without its number: side by side, series that need a vendor end in any order."""
    return repr((report["series"], sorted(without_times(report["report"]).items())))


def check_once(scene: Scene, one: Side, other: Side, options: dict[str, Any]) -> None:
    results, errors = by_themselves(
        lambda name: other.provider.fetch(name, *scene.span, **options), scene.asked
    )
    panel, raised = together(one.provider, scene, options)
    if panel is None:
        event("raised")
        assert not options["partial_ok"]
        # Whoever needs a vendor is asked for when the others have ended, and side by side.
        if any(name.startswith(NEEDS_A_VENDOR) for name in errors):
            assert plain_error(raised)[:3] in [plain_error(error)[:3] for error in errors.values()]
        else:
            assert plain_error(raised) == plain_error(first_of(errors.values()))
        return
    event("answered")
    if not options["partial_ok"]:
        assert not errors
    assert list(panel.results) == list(results)
    assert list(panel.errors) == list(errors)
    for name, result in results.items():
        assert_same(panel[name], result)
    for name, error in errors.items():
        assert plain_error(panel.errors[name]) == plain_error(error)


def together(
    provider: SeamlessDataProvider, scene: Scene, options: dict[str, Any]
) -> tuple[FetchManyResult | None, QmtlError | None]:
    try:
        return provider.fetch_many(scene.asked, *scene.span, **options), None
    except QmtlError as error:
        return None, error
