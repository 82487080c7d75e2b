"""Claims as they go to a coordinator, and its answers, as values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qmtl.foundation.leases import LeaseKey, ShardProgress
from qmtl.foundation.times import iso, to_ns
from qmtl.runtime.coordination.shard_leases import Claimed, Done, Ended, Granted, Held, ShardRequest

# Spans of missing bars in one request; it takes some 50 bytes for each.
_MOST_SPANS = 40_000


def wanted_json(request: ShardRequest) -> dict[str, Any]:
    return {
        "series": request.key.series,
        "shard": request.key.shard,
        "cells": [[iso(start), iso(end)] for start, end in request.cells],
        "read_as_of": iso(request.read_as_of),
    }


def claimed_of(key: LeaseKey, answer: dict[str, Any], claim_id: str) -> Claimed:
    if answer["state"] == "done":
        return Done(key, to_ns(answer["as_of"]))
    ended = _ended_of(answer.get("ended"))
    if answer["state"] == "granted":
        return Granted(key, claim_id, ended=ended)
    progress = answer.get("progress")
    shown = None if progress is None else ShardProgress(progress["done"], progress["total"])
    return Held(key, answer["holder"], shown, answer["retry_after_ms"] / 1000, ended)


def _ended_of(facts: dict[str, Any] | None) -> Ended | None:
    if facts is None:
        return None
    return Ended(facts["holder"], facts["why"], None if facts["at"] is None else to_ns(facts["at"]))


def batches(requests: list[ShardRequest], most: int) -> Iterator[list[ShardRequest]]:
    """Of one store, and not too large for a request."""
    batch: list[ShardRequest] = []
    spans = 0
    for request in requests:
        other = bool(batch) and request.key.store_id != batch[0].key.store_id
        if batch and (other or len(batch) == most or spans + len(request.cells) > _MOST_SPANS):
            yield batch
            batch, spans = [], 0
        batch.append(request)
        spans += len(request.cells)
    if batch:
        yield batch
