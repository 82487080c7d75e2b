"""The metrics of the catalogue, as Prometheus objects of one registry."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from qmtl.foundation.observability import catalog
from qmtl.foundation.observability.catalog import CATALOG, PHASES
from qmtl.foundation.series import SeriesId

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge


class CountedFinding(Protocol):
    """What is counted of a finding."""

    @property
    def rule(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def count(self) -> int: ...


class Unread:
    """In place of a registry that nothing reads: what is counted is dropped."""


class Metrics:
    """What a provider counts and measures. Providers that share a registry share its metrics.

    `registry` is a `prometheus_client.CollectorRegistry`; None is `prometheus_client.REGISTRY`. In a process
    that has not loaded prometheus_client the metrics are made when the first of them is used.
    """

    def __init__(self, registry: CollectorRegistry | Unread | None = None) -> None:
        self._families: dict[str, Any] = {}
        self._children: dict[tuple[str, ...], Any] = {}
        # Nobody has looked at a default registry that is not loaded, and loading it takes a while.
        if registry is not None or "prometheus_client" in sys.modules:
            self._make(registry)

    def observe_phases(self, series: SeriesId, seconds: Mapping[str, float]) -> None:
        """Seconds per phase of one fetch; phases that took no time, and other names, are left out."""
        for phase in PHASES:
            if took := seconds.get(phase):
                self._child((_SLA_SECONDS, series.text, phase)).observe(took)

    def completion(self, series: SeriesId, *, lease_key: str) -> Gauge:
        """The gauge of one backfill's progress; `completion_done` takes it away."""
        labels = (series.text, series.timeframe.text, lease_key)
        gauge: Gauge = self._family(catalog.COMPLETION.name).labels(*labels)
        return gauge

    def completion_done(self, series: SeriesId, *, lease_key: str) -> None:
        """The backfill has ended, whichever way. Taking the gauge away twice is no error."""
        gauges = self._family(catalog.COMPLETION.name)
        gauges.remove_by_labels(
            {"node_id": series.text, "interval": series.timeframe.text, "lease_key": lease_key}
        )

    def count_findings(self, series: SeriesId, findings: Iterable[CountedFinding]) -> None:
        for finding in findings:
            self._child((catalog.FLAGS.name, series.text, finding.rule)).inc(finding.count)
            if finding.severity == "warning":
                self._child((catalog.WARNINGS.name, series.text, finding.rule)).inc(finding.count)

    def count_fetch(self, series: SeriesId, strategy: str, outcome: str) -> None:
        self._child((_FETCHES, series.text, strategy, outcome)).inc()

    def count_answer(self, series: SeriesId, strategy: str, outcome: str, tier: str, bars: int) -> None:
        """A fetch that ended with an answer, and the bars in it that this tier brought."""
        self._child((_FETCHES, series.text, strategy, outcome)).inc()
        self._child((_BARS_SERVED, series.text, tier)).inc(bars)

    def count_bars_served(self, series: SeriesId, tier: str, bars: int) -> None:
        self._child((_BARS_SERVED, series.text, tier)).inc(bars)

    def count_retry(self, source: str) -> None:
        self._child((catalog.VENDOR_RETRIES.name, source)).inc()

    def count_commit(self, series: SeriesId, source: str, *, added: int, quarantined: int) -> None:
        if added:
            self._child((catalog.ROWS_COMMITTED.name, series.text, source)).inc(added)
        if quarantined:
            self._child((catalog.ROWS_QUARANTINED.name, series.text, source)).inc(quarantined)

    def count_schema_failures(self, subject: str, mode: str, rows: int) -> None:
        self._child((catalog.SCHEMA_FAILURES.name, subject, mode)).inc(rows)

    def count_uncoordinated(self, node_id: str, shards: int) -> None:
        self._child((catalog.UNCOORDINATED.name, node_id)).inc(shards)

    def count_expired_lease(self, reason: str) -> None:
        self._child((catalog.LEASES_EXPIRED.name, reason)).inc()

    def count_lease_event(self, event: str) -> None:
        self._child((catalog.LEASE_EVENTS.name, event)).inc()

    def count_job_event(self, event: str) -> None:
        self._child((catalog.JOB_EVENTS.name, event)).inc()

    def count_worked_shard(self, outcome: str) -> None:
        self._child((catalog.WORKED_SHARDS.name, outcome)).inc()

    def count_request(self, service: str, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request. `route` is the pattern of its path, never the path."""
        self._child((catalog.REQUESTS.name, service, method, route, str(status))).inc()
        self._child((catalog.REQUEST_SECONDS.name, service, route)).observe(seconds)

    def _child(self, key: tuple[str, ...]) -> Any:
        """Of a metric's name and the values of its labels."""
        # `labels()` takes a lock and rebuilds its key each time; an answer from the cache has no time for it.
        child = self._children.get(key)
        if child is None:
            child = self._family(key[0]).labels(*key[1:])
            self._children[key] = child
        return child

    def _family(self, name: str) -> Any:
        if not self._families:
            self._make(None)
        return self._families[name]

    def _make(self, registry: CollectorRegistry | Unread | None) -> None:
        objects = _DROPPED if isinstance(registry, Unread) else _objects_of(registry)
        # In this order: another thread that finds families has their children as well.
        self._children, self._families = objects[1], objects[0]


class _Dropped:
    """A metric, and a child of it, of `Unread`."""

    def labels(self, *_: str) -> Self:
        return self

    def remove_by_labels(self, _: Mapping[str, str]) -> None: ...

    def inc(self, _: float = 1.0) -> None: ...

    def set(self, _: float) -> None: ...

    def observe(self, _: float) -> None: ...


# Looked up on each answer; the metric of the catalogue by its name, by way of two objects, takes longer.
_SLA_SECONDS, _FETCHES, _BARS_SERVED = (
    metric.name for metric in (catalog.SLA_SECONDS, catalog.FETCHES, catalog.BARS_SERVED)
)

_Objects = tuple[dict[str, Any], dict[tuple[str, ...], Any]]

_DROPPED: _Objects = ({metric.name: _Dropped() for metric in CATALOG}, {})

_registries: weakref.WeakKeyDictionary[CollectorRegistry, _Objects] = weakref.WeakKeyDictionary()
_registries_lock = threading.Lock()


def _objects_of(registry: CollectorRegistry | None) -> _Objects:
    """The metrics of a registry, made once, and their children by labels."""
    from prometheus_client import REGISTRY, Counter, Gauge, Histogram

    registry = REGISTRY if registry is None else registry
    with _registries_lock:
        if registry not in _registries:
            families: dict[str, Any] = {}
            for metric in CATALOG:
                if metric.kind == "histogram":
                    family: Any = Histogram(
                        metric.name, metric.meaning, metric.labels, registry=registry, buckets=metric.buckets
                    )
                else:
                    make = Counter if metric.kind == "counter" else Gauge
                    family = make(metric.name, metric.meaning, metric.labels, registry=registry)
                families[metric.name] = family
            _registries[registry] = (families, {})
        return _registries[registry]
