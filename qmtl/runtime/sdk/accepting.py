"""Which bars of a range are suspicious now, recorded as looked at and accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.frames import stamps
from qmtl.foundation.series import SeriesId
from qmtl.foundation.states import bar_states
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.acceptance import accept
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import RULES
from qmtl.runtime.io.judged import read_judged
from qmtl.runtime.io.store.base import SeriesStore
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.sdk.declared import Declared


def check_rules(names: Iterable[str]) -> frozenset[str]:
    """The rules to accept; all warnings if none is named. Raises `InvalidRequestError`."""
    warnings = frozenset(rule.id for rule in RULES.values() if rule.severity == "warning")
    chosen = frozenset(names)
    for name in chosen - warnings:
        if name in RULES:
            raise InvalidRequestError(
                f"{name} cannot be accepted",
                why=f"it is an {RULES[name].severity}; only warnings are accepted",
                next_step=RULES[name].advice,
            )
        near = get_close_matches(name, RULES, n=1)
        raise InvalidRequestError(
            f"there is no rule {name!r}",
            next_step=f"did you mean {near[0]!r}?" if near else "'qmtl reports rules' lists them",
        )
    return chosen or warnings


def accept_warnings(
    store: SeriesStore,
    series: SeriesId,
    span: Span,
    rules: Collection[str],
    declared: Declared,
    pipeline: ConformancePipeline,
    *,
    now: int,
) -> dict[str, tuple[int, int]]:
    """Accept what `rules` find in the range now: per rule, bars (or spans) found, and newly accepted.

    Raises `StoreCorruptError` where damage hides bars of the range.
    """
    facts, grid = declared.of(series)
    span = grid.align(span)
    snapshot, flags = read_judged(store, pipeline, series, span, grid=grid, facts=facts)
    if snapshot.damaged:
        raise corrupt(series, snapshot.damaged, what="its bars cannot be looked at", span=span)
    states = bar_states(span, grid, stamps(snapshot.frame), snapshot.answered, snapshot.absent(now))
    # A rhythm is implausible only where a source claims that nothing traded.
    silent = {rule: cells & states.no_trade for rule, cells in flags.spans.items()}
    flags = flags.only(np.ones(len(flags.ts), dtype=bool), silent)
    result: dict[str, tuple[int, int]] = {}
    for rule in flags.rules():
        if rule in rules:
            found = accept(flags, snapshot.frame, rule, step=grid.step)
            result[rule] = (len(found), store.accept(series, found))
    return result
