"""Compatibility of JSON Schemas (2020-12 and draft-07): proved, shown by an instance, or undecided.

schema_document, node, dialects: a document made ready, and each subschema in it, in one dialect.
constraints: what the writer may write, split into cases until each has one type and plain limits.
proof: what the reader asks, keyword by keyword, of each case; what is not proved comes back as a failure.
regex_language: regular expressions as sets of strings, for proofs and for examples.
instances: values that fulfil the constraints and show a failure; jsonschema confirms each.
"""

from qmtl.foundation.schema.compatibility.json_schema.compare import compare as compare
from qmtl.foundation.schema.compatibility.json_schema.rules import RULES as RULES
