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
        # Nobody has looked at a default registry that is not loaded, and loading it takes a while.
        if registry is not None or "prometheus_client" in sys.modules:
            self._make(registry)

    def observe_phases(self, series: SeriesId, seconds: Mapping[str, float]) -> None:
        """Seconds per phase of one fetch; phases that took no time, and other names, are left out."""
        observe = self._family(catalog.SLA_SECONDS.name).observe
        for phase in PHASES:
            took = seconds.get(phase)
            if took:
                observe((series.text, phase), took)

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
            self._family(catalog.FLAGS.name).inc((series.text, finding.rule), finding.count)
            if finding.severity == "warning":
                self._family(catalog.WARNINGS.name).inc((series.text, finding.rule), finding.count)

    def count_fetch(self, series: SeriesId, strategy: str, outcome: str) -> None:
        self._family(catalog.FETCHES.name).inc((series.text, strategy, outcome))

    def count_bars_served(self, series: SeriesId, tier: str, bars: int) -> None:
        self._family(catalog.BARS_SERVED.name).inc((series.text, tier), bars)

    def count_retry(self, source: str) -> None:
        self._family(catalog.VENDOR_RETRIES.name).inc((source,))

    def count_commit(self, series: SeriesId, source: str, *, added: int, quarantined: int) -> None:
        if added:
            self._family(catalog.ROWS_COMMITTED.name).inc((series.text, source), added)
        if quarantined:
            self._family(catalog.ROWS_QUARANTINED.name).inc((series.text, source), quarantined)

    def count_schema_failures(self, subject: str, mode: str, rows: int) -> None:
        self._family(catalog.SCHEMA_FAILURES.name).inc((subject, mode), rows)

    def count_uncoordinated(self, node_id: str, shards: int) -> None:
        self._family(catalog.UNCOORDINATED.name).inc((node_id,), shards)

    def count_expired_lease(self, reason: str) -> None:
        self._family(catalog.LEASES_EXPIRED.name).inc((reason,))

    def count_lease_event(self, event: str) -> None:
        self._family(catalog.LEASE_EVENTS.name).inc((event,))

    def count_job_event(self, event: str) -> None:
        self._family(catalog.JOB_EVENTS.name).inc((event,))

    def count_worked_shard(self, outcome: str) -> None:
        self._family(catalog.WORKED_SHARDS.name).inc((outcome,))

    def count_request(self, service: str, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request. `route` is the pattern of its path, never the path."""
        self._family(catalog.REQUESTS.name).inc((service, method, route, str(status)))
        self._family(catalog.REQUEST_SECONDS.name).observe((service, route), seconds)

    def _family(self, name: str) -> Any:
        if not self._families:
            self._make(None)
        return self._families[name]

    def _make(self, registry: CollectorRegistry | Unread | None) -> None:
        self._families = _DROPPED if isinstance(registry, Unread) else _families_of(registry)


class _Dropped:
    """A metric of `Unread`."""

    def labels(self, *_: str) -> Self:
        return self

    def remove_by_labels(self, _: Mapping[str, str]) -> None: ...

    def set(self, _: float) -> None: ...

    def inc(self, _: tuple[str, ...], __: float = 1.0) -> None: ...

    def observe(self, _: tuple[str, ...], __: float) -> None: ...


_Families = dict[str, Any]

_DROPPED: _Families = {metric.name: _Dropped() for metric in CATALOG}

_registries: weakref.WeakKeyDictionary[CollectorRegistry, _Families] = weakref.WeakKeyDictionary()
_registries_lock = threading.Lock()


def _families_of(registry: CollectorRegistry | None) -> _Families:
    """The metrics of a registry by name, made once."""
    from prometheus_client import REGISTRY, Gauge

    from qmtl.foundation.observability.tallies import CounterTally, SecondsTally

    registry = REGISTRY if registry is None else registry
    with _registries_lock:
        if registry not in _registries:
            families: _Families = {}
            for metric in CATALOG:
                if metric.kind == "gauge":
                    families[metric.name] = Gauge(
                        metric.name, metric.meaning, metric.labels, registry=registry
                    )
                    continue
                tally = CounterTally(metric) if metric.kind == "counter" else SecondsTally(metric)
                registry.register(tally)
                families[metric.name] = tally
            _registries[registry] = families
        return _registries[registry]
