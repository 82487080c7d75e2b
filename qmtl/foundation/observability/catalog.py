"""Every metric and every log field there is, declared once; code, documentation and alert rules follow it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One metric. Labels are bounded by what a user works with: series, sources, rules, strategies."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


# The parts of a request that have a budget of their own, and the whole.
PHASES = ("storage_wait", "backfill_wait", "live_wait", "total")

# From a cache hit (tens of microseconds) to a long backfill: about half a decade a step.
_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

SLA_SECONDS = Metric(
    "seamless_sla_deadline_seconds",
    "histogram",
    "seconds",
    ("node_id", "phase"),
    "Time that each phase of a fetch took; a phase that had nothing to do is not observed.",
    _SECONDS,
)
COMPLETION = Metric(
    "backfill_completion_ratio",
    "gauge",
    "ratio",
    ("node_id", "interval", "lease_key"),
    "Bars of a shard that are known, of those that a running backfill wants; gone when the shard is free.",
)
FLAGS = Metric(
    "seamless_conformance_flag_total",
    "counter",
    "bars",
    ("node_id", "rule"),
    "Bars named by findings of any severity, in archived reports.",
)
WARNINGS = Metric(
    "seamless_conformance_warning_total",
    "counter",
    "bars",
    ("node_id", "rule"),
    "Bars named by findings of severity warning, in archived reports.",
)
FETCHES = Metric(
    "seamless_fetch_total",
    "counter",
    "fetches",
    ("node_id", "strategy", "outcome"),
    "Fetches that ended: complete, partial, or the name of the error that they raised.",
)
BARS_SERVED = Metric(
    "seamless_bars_served_total",
    "counter",
    "bars",
    ("node_id", "tier"),
    "Bars returned to callers, by the tier that brought them: cache, storage, backfill, live.",
)
VENDOR_RETRIES = Metric(
    "seamless_vendor_retries_total",
    "counter",
    "retries",
    ("source",),
    "Times that a vendor was asked again because it had broken off.",
)
ROWS_COMMITTED = Metric(
    "seamless_rows_committed_total",
    "counter",
    "rows",
    ("node_id", "source"),
    "Rows that commits added to the store.",
)
ROWS_QUARANTINED = Metric(
    "seamless_rows_quarantined_total",
    "counter",
    "rows",
    ("node_id", "source"),
    "Impossible rows that were kept aside.",
)
SCHEMA_FAILURES = Metric(
    "seamless_schema_validation_failures_total",
    "counter",
    "rows",
    ("subject", "mode"),
    "Rows that broke the registered schema when they were read, or that the store cannot hold.",
)
UNCOORDINATED = Metric(
    "seamless_uncoordinated_claims_total",
    "counter",
    "shards",
    ("node_id",),
    "Shards claimed by the leases of one machine, because the coordinator of all machines did not answer.",
)
LEASES_EXPIRED = Metric(
    "seamless_backfill_leases_expired_total",
    "counter",
    "leases",
    ("reason",),
    "Leases whose holder was not heard of in time, counted by the coordinator that freed them.",
)
LEASE_EVENTS = Metric(
    "coordinator_lease_events_total",
    "counter",
    "events",
    ("event",),
    "Steps in the lives of leases that this coordinator stored: granted, completed, failed, expired, ...",
)
JOB_EVENTS = Metric(
    "coordinator_job_events_total",
    "counter",
    "events",
    ("event",),
    "Steps in the lives of jobs and their shards that this coordinator stored: queued, taken, done, ...",
)
WORKED_SHARDS = Metric(
    "worker_shards_total",
    "counter",
    "shards",
    ("outcome",),
    "Shards of jobs that a worker was at, by how its attempt ended: done, failed, away, released.",
)
REQUESTS = Metric(
    "service_requests_total",
    "counter",
    "requests",
    ("service", "method", "route", "status"),
    "Requests that a service answered; the route is empty where there is none, or entry was refused.",
)
REQUEST_SECONDS = Metric(
    "service_request_seconds",
    "histogram",
    "seconds",
    ("service", "route"),
    "Time from a request to the end of its answer.",
    _SECONDS,
)

CATALOG = (
    SLA_SECONDS,
    COMPLETION,
    FLAGS,
    WARNINGS,
    FETCHES,
    BARS_SERVED,
    VENDOR_RETRIES,
    ROWS_COMMITTED,
    ROWS_QUARANTINED,
    SCHEMA_FAILURES,
    UNCOORDINATED,
    LEASES_EXPIRED,
    LEASE_EVENTS,
    JOB_EVENTS,
    WORKED_SHARDS,
    REQUESTS,
    REQUEST_SECONDS,
)

# The fields of every event of `seamless.backfill` and `seamless.sla`: the series, its timeframe, and the
# range as ISO 8601 UTC, its end open. Only where a provider is closed no series is concerned.
LOG_FIELDS = ("node_id", "interval", "start", "end")
