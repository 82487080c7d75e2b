"""Counters and histograms that are kept as plain numbers, and become samples when Prometheus reads them.

Each answer changes six numbers. A child of prometheus_client checks itself and takes a lock for each of them,
which takes twice the time. What a registry shows is the same.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from math import inf
from typing import NamedTuple

from prometheus_client import Counter, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString as bound_text

from qmtl.foundation.observability import catalog

Labels = tuple[str, ...]


class _Seconds(NamedTuple):
    """total: a list of the one sum. counts: of each bucket by itself, the unbounded one last."""

    total: list[float]
    counts: list[int]
    created: float


class CounterTally:
    """One counter, by the values of its labels. A collector of `prometheus_client`."""

    def __init__(self, metric: catalog.Metric) -> None:
        self._metric = metric
        self._lock = threading.Lock()
        self._values: dict[Labels, float] = {}
        self._created: dict[Labels, float] = {}

    def inc(self, labels: Labels, amount: float = 1.0) -> None:
        with self._lock:
            try:
                self._values[labels] += amount
            except KeyError:
                self._values[labels] = float(amount)
                self._created[labels] = time.time()

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._metric.name, self._metric.meaning, labels=self._metric.labels)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._metric.name, self._metric.meaning, labels=self._metric.labels)
        with self._lock:
            values = list(self._values.items())
        shows_created = _shows_created()
        for labels, value in values:
            family.add_metric(labels, value, self._created[labels] if shows_created else None)
        yield family


class SecondsTally:
    """One histogram of seconds, by the values of its labels. A collector of `prometheus_client`."""

    def __init__(self, metric: catalog.Metric) -> None:
        self._metric = metric
        self._lock = threading.Lock()
        self._values: dict[Labels, _Seconds] = {}

    def observe(self, labels: Labels, seconds: float) -> None:
        bounds = self._metric.buckets
        with self._lock:
            try:
                total, counts, _ = self._values[labels]
            except KeyError:
                total, counts, _ = self._values[labels] = _Seconds(
                    [0.0], [0] * (len(bounds) + 1), time.time()
                )
            total[0] += seconds
            counts[bisect_left(bounds, seconds)] += 1

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._metric.name, self._metric.meaning, labels=self._metric.labels)

    def collect(self) -> Iterator[Metric]:
        metric = self._metric
        family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        with self._lock:
            values = [
                (labels, total[0], [*counts], created)
                for labels, (total, counts, created) in self._values.items()
            ]
        shows_created = _shows_created()
        bounds = [bound_text(bound) for bound in (*metric.buckets, inf)]  # type: ignore[no-untyped-call]
        for labels, total, counts, created in values:
            upto = [float(count) for count in accumulate(counts)]
            family.add_metric(labels, [*zip(bounds, upto, strict=True)], total)
            if shows_created:
                named = dict(zip(metric.labels, labels, strict=True))
                family.samples.append(Sample(f"{metric.name}_created", named, created))
        yield family


def _shows_created() -> bool:
    """Whether prometheus_client shows when a counter was made; a program can turn that off at any time."""
    (family,) = Counter("any", "Asked what it shows.", registry=None).collect()
    return len(family.samples) > 1
