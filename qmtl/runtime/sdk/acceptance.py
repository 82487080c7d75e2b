"""Suspicious bars of a range, recorded as examined and accepted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

import numpy as np

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.grid import Grid
from qmtl.foundation.series import SeriesId
from qmtl.foundation.timeline import Span
from qmtl.runtime.conformance.acceptance import accept
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.rules import RULES
from qmtl.runtime.io.evaluate import evaluate
from qmtl.runtime.io.store.contract import Store
from qmtl.runtime.io.store.damage import corrupt
from qmtl.runtime.io.store.values import refuse_unarchived
from qmtl.runtime.sdk.range_report import report_on
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding


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
    store: Store,
    pipeline: ConformancePipeline,
    series: SeriesId,
    span: Span,
    rules: Collection[str],
    *,
    grid: Grid,
    facts: SeriesFacts,
    binding: SchemaBinding,
    now: int,
) -> dict[str, tuple[int, int]]:
    """Accept what `rules` find in the range now: per rule, bars (or spans) found, and newly accepted.

    If anything is newly accepted, a report of the range is archived: what raises nothing any more is the
    measure of later reports. Raises `StoreCorruptError` where damage hides bars of the range.
    """
    evaluated = evaluate(
        store, pipeline, series, span, grid=grid, facts=facts, schema=binding.schema, now=now
    )
    if evaluated.damaged:
        raise corrupt(series, evaluated.damaged, what="its bars cannot be looked at", span=span)
    # A rhythm is implausible only where a source claims that nothing traded.
    no_trade = evaluated.states.no_trade
    silent = {rule: cells & no_trade for rule, cells in evaluated.flags.spans.items()}
    flags = evaluated.flags.filter(np.ones(len(evaluated.flags.ts), dtype=bool), silent)
    result: dict[str, tuple[int, int]] = {}
    for rule in flags.rules():
        if rule in rules:
            found = accept(flags, evaluated.frame, rule, step=grid.step)
            result[rule] = (len(found), store.accept(series, found))
    if any(new for _, new in result.values()):
        report = report_on(evaluated, pipeline, store, binding)
        refuse_unarchived(series, store.archive_report(series, report.to_json()))
    return result
