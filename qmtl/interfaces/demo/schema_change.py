"""Act three: a change of the schema that would hurt somebody, one that would not, and a promotion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qmtl.foundation.errors import IncompatibleSchemaError, MissingDependencyError, SchemaValidationError
from qmtl.foundation.schema.builtin import BUILTIN
from qmtl.foundation.schema.documents import Schema, SchemaType
from qmtl.foundation.schema.governance.audit_file import AuditLog
from qmtl.foundation.schema.governance.bundle import Bundle
from qmtl.foundation.schema.governance.rollout import Rollout
from qmtl.foundation.schema.registry.client import SchemaRegistryClient
from qmtl.foundation.schema.registry.records import RegistryRecords
from qmtl.interfaces.demo.daily_bars import SERIES
from qmtl.interfaces.demo.stage import Stage
from qmtl.runtime.sdk.provider import SeamlessDataProvider

SUBJECT = "ohlcv"


def schema_change(stage: Stage, folder: Path) -> None:
    """Judge two changes of what a bar is, watch the canary over AAPL, and promote."""
    stage.act("Act three: a schema changes, and nobody is surprised")
    bundle = Bundle.read(BUILTIN)
    registry = SchemaRegistryClient()
    for file in bundle.in_order():
        registry.register(file.subject, file.schema)
    today = json.loads(registry.version(SUBJECT, "latest").schema.text)

    stage.say("  Somebody wants every bar to have a volume: null is no longer allowed.")
    _refused(stage, registry, today)

    stage.say("  Somebody wants to add the number of trades, where a source tells it.")
    more = _with(today, trades={"type": ["integer", "null"], "minimum": 0, "x-dtype": "Int64"})
    added = registry.register(SUBJECT, _schema(more))
    stage.check(f"that reads all that version 1 wrote: it is version {added.version}", added.version == 2)

    log = AuditLog(folder / "schemas" / "audit_log.jsonl", anchors=folder / "anchors")
    rollout = Rollout(RegistryRecords(registry.storage), log, bundle)
    with SeamlessDataProvider(folder / "bars", vendors={}, schemas=registry) as canary:
        result = canary.fetch(SERIES, "2000-03-01", "2013-03-02", strategy="FAIL_FAST")
    rows = result.frame.height
    broken = [finding for finding in result.report.findings if finding.rule.startswith("schema.")]
    stage.say(f"  The canary checked {rows:,} bars of AAPL against {result.receipt.schema_id}.")
    stage.check("none of them breaks it", not broken)

    entry = rollout.promote(SUBJECT, added.version)
    stage.say(
        f"  Promoted: {entry.evidence['checked']:,} rows checked, {entry.evidence['failed']} failed within "
        f"{entry.evidence['window_s'] / 3600:g} hours; bundle {str(entry.bundle_sha256)[:16]}..., "
        f"entry {entry.number} of the audit log."
    )
    stage.check("the entry tells what the canary counted", entry.evidence["checked"] == rows)
    stage.check("the audit log holds, to its last entry", log.verify().is_intact)
    with SeamlessDataProvider(folder / "bars", vendors={}, schemas=registry) as strict:
        again = strict.fetch(SERIES, "2000-03-01", "2013-03-02", strategy="FAIL_FAST")
    stage.check("in strict mode the same bars are served", again.frame.equals(result.frame))

    registry.set_level("NONE", SUBJECT)
    registry.register(SUBJECT, _schema(_with(more, close={"type": "number", "maximum": 500.0})))
    with SeamlessDataProvider(folder / "bars", vendors={}, schemas=registry) as strict:
        try:
            strict.fetch(SERIES, "2000-03-01", "2013-03-02", strategy="FAIL_FAST")
        except SchemaValidationError as error:
            stage.error(error)
            dear = result.frame.filter(result.frame["close"] > 500.0).height
            stage.check(
                f"a schema that caps the close at 500 refuses {dear:,} bars", f"{dear:,} of" in str(error)
            )
        else:
            stage.check("a schema that caps the close at 500 refuses bars", False)


def _refused(stage: Stage, registry: SchemaRegistryClient, today: Mapping[str, Any]) -> None:
    try:
        import jsonschema
    except ModuleNotFoundError:
        raise MissingDependencyError("jsonschema", extra="schemas") from None
    stricter = _with(today, volume={**today["properties"]["volume"], "type": "number"})
    try:
        registry.register(SUBJECT, _schema(stricter))
    except IncompatibleSchemaError as error:
        stage.error(error)
        (problem,) = [one for pair in error.comparisons for one in pair.verdict.problems]
        assert problem.counterexample is not None  # a rule of JSON Schema, so that an instance decides
        instance = problem.counterexample.value
        stage.say(f"  version 1 may write  {json.dumps(instance)}")
        valid = {
            name: jsonschema.Draft202012Validator(schema).is_valid(instance)
            for name, schema in (("today", today), ("stricter", stricter))
        }
        stage.check(
            "an instance that version 1 accepts and the new schema rejects",
            valid == {"today": True, "stricter": False},
        )
    else:
        stage.check("the change is refused", False)


def _with(schema: Mapping[str, Any], **columns: Any) -> dict[str, Any]:
    return {**schema, "properties": {**schema["properties"], **columns}}


def _schema(value: Mapping[str, Any]) -> Schema:
    return Schema(json.dumps(value), SchemaType.JSON)
