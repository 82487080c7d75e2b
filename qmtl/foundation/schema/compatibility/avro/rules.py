"""Every rule by which a change of an Avro schema is assessed, and what it means; ids are stable.

The wording in quotes is that of "Schema Resolution" in the Avro 1.12 specification.
"""

from __future__ import annotations

# The instance decides: each such problem shows one that the reader cannot read.
RESOLUTION: dict[str, str] = {
    "avro.type_mismatch": "The reader's type is another one, and none that the writer's may be promoted to.",
    "avro.name_mismatch": "Records, enums and fixed match by unqualified name, or by the reader's alias.",
    "avro.fixed_size_mismatch": "Fixed types match only if their sizes are equal.",
    "avro.default_missing": "A field without a default is expected by the reader and not written.",
    "avro.symbol_missing": "A symbol of the writer's enum is unknown to the reader's, which has no default.",
    "avro.branch_missing": "No schema in the reader's union matches what is written.",
    "avro.branch_mismatch": "A branch of the writer's union does not match the reader's single type.",
}

# Ours, without an instance: every value can be read, and would be taken for another.
MEANING: dict[str, str] = {
    "avro.decimal_scale_changed": "Both sides are decimals, of different scale: 1.23 would be read as 12.3.",
    "avro.time_type_changed": "Both sides are known time types, and different ones: millis are not micros.",
    "avro.unit_changed": "Both sides declare a `unit`, and not the same.",
}

# What cannot be decided counts as incompatible.
UNDECIDED: dict[str, str] = {
    "avro.too_deep": "The schemas, or the smallest instance, nest deeper than is looked at.",
    "avro.too_large": "There are more pairs of types than are looked at, or the instance is too large.",
    "avro.unconfirmed": "An instance was found, and fastavro reads it, which no known deviation explains.",
}

# Compatible, and worth a warning.
NOTICES: dict[str, str] = {
    "avro.bytes_and_string": "Bytes are read as text or text as bytes; not all bytes are UTF-8.",
    "avro.logical_type_added": "Only the reader declares a logical type.",
    "avro.logical_type_dropped": "Only the writer declares a logical type.",
    "avro.logical_type_changed": "The two sides declare different logical types, not both of time.",
    "avro.logical_type_unknown": "A logical type is not one of the specification's, and is ignored.",
    "avro.decimal_precision_changed": "Both sides are decimals of one scale, of different precision.",
    "avro.unit_declared": "Only one side declares a `unit`.",
}

RULES: dict[str, str] = RESOLUTION | MEANING | UNDECIDED | NOTICES
