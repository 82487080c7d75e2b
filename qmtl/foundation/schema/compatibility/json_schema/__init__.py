"""Compatibility of JSON Schemas (2020-12 and draft-07): proved, shown by an instance, or undecided."""

from qmtl.foundation.schema.compatibility.json_schema.compare import compare as compare
from qmtl.foundation.schema.compatibility.json_schema.rules import RULES as RULES
