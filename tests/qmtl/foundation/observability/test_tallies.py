"""A registry shows of tallies what it shows of the counters and histograms of prometheus_client."""

from __future__ import annotations

import re
import threading

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import DuplicateTimeseries

from qmtl.foundation.observability.catalog import Metric
from qmtl.foundation.observability.tallies import CounterTally, SecondsTally

COUNTER = Metric("rows_total", "counter", "rows", ("node_id", "tier"), "Rows.")
SECONDS = Metric("wait_seconds", "histogram", "seconds", ("node_id",), "Waiting.", (0.0001, 0.5, 1.0, 30.0))

NODES = st.sampled_from(["a", 'b"\\\n', "ohlcv:x:BTC/USDT:1m"])
COUNTS = st.lists(st.tuples(NODES, st.sampled_from(["cache", "live"]), st.integers(0, 10**6)), max_size=12)
WAITS = st.lists(
    st.tuples(NODES, st.sampled_from([0.0001, 0.5, 30.0, 30.1, 1e9]) | st.floats(0.0, 40.0)), max_size=12
)


def both() -> tuple[CollectorRegistry, CounterTally, SecondsTally]:
    registry, counter, seconds = CollectorRegistry(), CounterTally(COUNTER), SecondsTally(SECONDS)
    registry.register(counter)
    registry.register(seconds)
    return registry, counter, seconds


def theirs() -> tuple[CollectorRegistry, Counter, Histogram]:
    registry = CollectorRegistry()
    counter = Counter(COUNTER.name, COUNTER.meaning, COUNTER.labels, registry=registry)
    seconds = Histogram(
        SECONDS.name, SECONDS.meaning, SECONDS.labels, registry=registry, buckets=SECONDS.buckets
    )
    return registry, counter, seconds


def shown(registry: CollectorRegistry) -> list[str]:
    """What is served, as both kinds of text; when something was made is left out."""
    texts = [generate_latest(registry).decode(), exposition.generate_latest(registry).decode()]
    return [re.sub(r"(_created\{.*\}) \S+", r"\1 T", text) for text in texts]


@given(COUNTS, WAITS)
def test_the_same_is_shown(counts, waits) -> None:
    (ours, counter, seconds), (other, their_counter, their_seconds) = both(), theirs()
    for node, tier, amount in counts:
        counter.inc((node, tier), amount)
        their_counter.labels(node, tier).inc(amount)
    for node, took in waits:
        seconds.observe((node,), took)
        their_seconds.labels(node).observe(took)
    assert shown(ours) == shown(other)


def test_when_a_number_was_first_counted_is_shown_unless_that_is_turned_off() -> None:
    registry, counter, seconds = both()
    counter.inc(("a", "cache"))
    seconds.observe(("a",), 0.2)
    assert registry.get_sample_value("rows_created", {"node_id": "a", "tier": "cache"})
    assert registry.get_sample_value("wait_seconds_created", {"node_id": "a"})
    prometheus_client.disable_created_metrics()
    try:
        assert "_created" not in "".join(shown(registry))
    finally:
        prometheus_client.enable_created_metrics()


def test_a_part_of_a_registry_can_be_asked_for() -> None:
    registry, counter, seconds = both()
    counter.inc(("a", "cache"), 3)
    seconds.observe(("a",), 0.2)
    text = generate_latest(registry.restricted_registry(["rows_total"])).decode()
    assert 'rows_total{node_id="a",tier="cache"} 3.0' in text
    assert "wait_seconds" not in text


@pytest.mark.parametrize("tally", [CounterTally(COUNTER), SecondsTally(SECONDS)])
def test_no_other_metric_of_a_registry_has_its_name(tally) -> None:
    registry, _, _ = theirs()
    with pytest.raises(DuplicateTimeseries):
        registry.register(tally)


def test_threads_lose_no_count() -> None:
    registry, counter, seconds = both()

    def count() -> None:
        for _ in range(2_000):
            counter.inc(("a", "cache"), 2)
            seconds.observe(("a",), 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get_sample_value("rows_total", {"node_id": "a", "tier": "cache"}) == 16_000
    assert registry.get_sample_value("wait_seconds_sum", {"node_id": "a"}) == 4_000
    assert registry.get_sample_value("wait_seconds_bucket", {"node_id": "a", "le": "0.5"}) == 8_000
