"""The report on a range of the store, compared with what was archived and accepted before."""

from __future__ import annotations

from collections.abc import Iterable

from qmtl.foundation.fingerprint import fingerprint
from qmtl.runtime.conformance.findings import Finding
from qmtl.runtime.conformance.pipeline import ConformancePipeline
from qmtl.runtime.conformance.report import SCHEMA, ConformanceReport, Unchecked
from qmtl.runtime.io.evaluated_range import EvaluatedRange
from qmtl.runtime.io.store.contract import ReportArchive
from qmtl.runtime.sdk.schema_enforcer import SchemaBinding


def report_on(
    evaluated: EvaluatedRange,
    pipeline: ConformancePipeline,
    archive: ReportArchive,
    binding: SchemaBinding,
    findings: Iterable[Finding] = (),
) -> ConformanceReport:
    """Not archived yet. `findings`: more of them, beside those of the range and of its schema."""
    series, frame = evaluated.series, evaluated.frame
    why_not = binding.why_not
    return pipeline.report(
        series=series,
        frame=frame,
        states=evaluated.states,
        flags=evaluated.flags,
        fingerprint=fingerprint(frame),
        as_of=evaluated.as_of,
        previous=archive.baseline_report(series),
        accepted=archive.accepted(series),
        findings=(*findings, *evaluated.check.findings(frame)),
        schema_id=binding.name,
        unchecked=[] if why_not is None else [Unchecked(SCHEMA, frame.height, why_not)],
    )
