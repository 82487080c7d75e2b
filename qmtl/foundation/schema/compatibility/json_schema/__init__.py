"""Compatibility of JSON Schemas (2020-12 and draft-07): proved, shown by an instance, or undecided.

opened, place, dialects: a document made ready, and each subschema in it, in the words of one dialect.
facts: what the writer may write, taken apart case by case until each has one type and plain limits.
proof: what the reader asks, keyword by keyword, of each case; what is not proved comes back as a failure.
words: regular expressions as sets of strings, for proofs and for strings.
instances: values that fulfil the facts and show a failure; jsonschema has the last word on each.
"""

from qmtl.foundation.schema.compatibility.json_schema.compare import compare as compare
from qmtl.foundation.schema.compatibility.json_schema.rules import RULES as RULES
