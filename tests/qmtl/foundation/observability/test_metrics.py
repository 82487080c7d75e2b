"""The catalogue is a promise: names and labels as a snapshot, and the registry holds exactly what it says."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import NamedTuple

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from qmtl.foundation.observability.catalog import CATALOG, PHASES
from qmtl.foundation.observability.metrics import Metrics, Unread
from qmtl.foundation.series import SeriesId

SERIES = SeriesId.parse("ohlcv:binance:BTC/USDT:USDT:1m")
NODE = {"node_id": "ohlcv:binance:BTC/USDT:USDT:1m"}


class Finding(NamedTuple):
    rule: str
    severity: str
    count: int


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_the_catalogue_is_what_dashboards_and_alerts_rely_on() -> None:
    assert {m.name: (m.kind, m.unit, m.labels) for m in CATALOG} == {
        "seamless_sla_deadline_seconds": ("histogram", "seconds", ("node_id", "phase")),
        "backfill_completion_ratio": ("gauge", "ratio", ("node_id", "interval", "lease_key")),
        "seamless_conformance_flag_total": ("counter", "bars", ("node_id", "rule")),
        "seamless_conformance_warning_total": ("counter", "bars", ("node_id", "rule")),
        "seamless_fetch_total": ("counter", "fetches", ("node_id", "strategy", "outcome")),
        "seamless_bars_served_total": ("counter", "bars", ("node_id", "tier")),
        "seamless_vendor_retries_total": ("counter", "retries", ("source",)),
        "seamless_rows_committed_total": ("counter", "rows", ("node_id", "source")),
        "seamless_rows_quarantined_total": ("counter", "rows", ("node_id", "source")),
        "seamless_schema_validation_failures_total": ("counter", "rows", ("subject", "mode")),
        "seamless_uncoordinated_claims_total": ("counter", "shards", ("node_id",)),
        "seamless_backfill_leases_expired_total": ("counter", "leases", ("reason",)),
        "coordinator_lease_events_total": ("counter", "events", ("event",)),
        "coordinator_job_events_total": ("counter", "events", ("event",)),
        "worker_shards_total": ("counter", "shards", ("outcome",)),
        "service_requests_total": ("counter", "requests", ("service", "method", "route", "status")),
        "service_request_seconds": ("histogram", "seconds", ("service", "route")),
    }
    assert PHASES == ("storage_wait", "backfill_wait", "live_wait", "total")


@pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
def test_every_metric_explains_itself(metric) -> None:
    assert metric.meaning.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.name.endswith("_total") == (metric.kind == "counter")


def use_everything(metrics: Metrics) -> None:
    metrics.observe_phases(SERIES, {"storage_wait": 0.002, "backfill_wait": 0.0, "other": 1.0, "total": 2.5})
    metrics.completion(SERIES, lease_key="shard 7").set(0.25)
    metrics.count_findings(
        SERIES,
        [
            Finding("quality.price_spike", "warning", 3),
            Finding("quality.no_volume", "info", 2),
            Finding("quality.high_below_low", "error", 1),
        ],
    )
    metrics.count_fetch(SERIES, "SEAMLESS", "complete")
    metrics.count_bars_served(SERIES, "cache", 1000)
    metrics.count_retry("binance")
    metrics.count_commit(SERIES, "binance", added=1440, quarantined=2)
    metrics.count_schema_failures("ohlcv", "canary", 3)
    metrics.count_uncoordinated(SERIES.text, 2)
    metrics.count_expired_lease("session_ended")
    metrics.count_lease_event("granted")
    metrics.count_job_event("done")
    metrics.count_worked_shard("done")
    metrics.count_request("registry", "GET", "/schemas/ids/{id}", 200, 0.0005)


def test_every_metric_of_the_catalogue_can_be_emitted_with_its_labels(registry: CollectorRegistry) -> None:
    use_everything(Metrics(registry))
    emitted = {}
    for family in registry.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                emitted[family.name] = set(sample.labels) - {"le"}
    assert emitted == {m.name.removesuffix("_total"): set(m.labels) for m in CATALOG}


def test_what_is_counted(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    use_everything(metrics)
    use_everything(metrics)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    seconds = "seamless_sla_deadline_seconds"
    assert value(f"{seconds}_sum", **NODE, phase="total") == 5.0
    assert value(f"{seconds}_count", **NODE, phase="storage_wait") == 2
    assert value(f"{seconds}_bucket", **NODE, phase="storage_wait", le="0.001") == 0
    assert value(f"{seconds}_bucket", **NODE, phase="storage_wait", le="0.003") == 2
    assert value(f"{seconds}_count", **NODE, phase="backfill_wait") is None, "it had nothing to do"
    assert value(f"{seconds}_count", **NODE, phase="other") is None, "not a phase"
    ratio = {**NODE, "interval": "1m", "lease_key": "shard 7"}
    assert value("backfill_completion_ratio", **ratio) == 0.25
    flags, warnings = "seamless_conformance_flag_total", "seamless_conformance_warning_total"
    assert value(flags, **NODE, rule="quality.price_spike") == 6
    assert value(warnings, **NODE, rule="quality.price_spike") == 6
    assert value(flags, **NODE, rule="quality.high_below_low") == 2
    assert value(warnings, **NODE, rule="quality.high_below_low") is None
    assert value("seamless_fetch_total", **NODE, strategy="SEAMLESS", outcome="complete") == 2
    assert value("seamless_bars_served_total", **NODE, tier="cache") == 2000
    assert value("seamless_rows_committed_total", **NODE, source="binance") == 2880
    assert value("seamless_rows_quarantined_total", **NODE, source="binance") == 4


def test_a_gauge_goes_away_when_its_work_ends(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    for key in ("a", "b"):
        metrics.completion(SERIES, lease_key=key).set(0.5)
    metrics.completion_done(SERIES, lease_key="a")
    metrics.completion_done(SERIES, lease_key="a")
    metrics.completion_done(SERIES, lease_key="never begun")
    labels = {**NODE, "interval": "1m"}
    assert registry.get_sample_value("backfill_completion_ratio", {**labels, "lease_key": "a"}) is None
    assert registry.get_sample_value("backfill_completion_ratio", {**labels, "lease_key": "b"}) == 0.5
    metrics.completion(SERIES, lease_key="a").set(0.75)
    assert registry.get_sample_value("backfill_completion_ratio", {**labels, "lease_key": "a"}) == 0.75


def test_providers_share_the_metrics_of_a_registry(registry: CollectorRegistry) -> None:
    Metrics(registry).count_retry("a")
    Metrics(registry).count_retry("a")
    Metrics(CollectorRegistry()).count_retry("a")
    assert registry.get_sample_value("seamless_vendor_retries_total", {"source": "a"}) == 2


def test_no_registry_is_the_usual_one() -> None:
    Metrics().count_retry("test of the default registry")
    labels = {"source": "test of the default registry"}
    assert REGISTRY.get_sample_value("seamless_vendor_retries_total", labels) == 1


LATE = """
import sys
from qmtl.foundation.observability.metrics import Metrics
metrics = Metrics()
assert "prometheus_client" not in sys.modules
metrics.count_retry("a")
metrics.count_retry("a")
from prometheus_client import REGISTRY
print(REGISTRY.get_sample_value("seamless_vendor_retries_total", {"source": "a"}))
"""


def test_the_usual_registry_has_what_was_counted_before_anybody_loaded_it() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert done.stdout == "2.0\n"


def test_a_registry_is_not_kept_alive() -> None:
    registry = CollectorRegistry()
    Metrics(registry).count_retry("a")
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_what_nobody_reads_is_dropped() -> None:
    metrics = Metrics(Unread())
    use_everything(metrics)
    metrics.completion_done(SERIES, lease_key="shard 7")
    labels = {**NODE, "strategy": "SEAMLESS", "outcome": "complete"}
    assert REGISTRY.get_sample_value("seamless_fetch_total", labels) is None
