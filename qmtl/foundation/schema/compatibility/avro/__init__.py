"""Whether what one Avro schema wrote can be read with another, and an instance that shows where it cannot.

understanding.py    a document becomes a graph of types (types.py), its names in full (names.py)
resolution.py       the walk over two graphs: matching.py says which types match, fields.py which fields
meaning.py          what can be read and would mean something else: logical types (logical.py) and units
smallest.py         the smallest value of each type; positions.py puts one around the position of a problem
confirmation.py     the instance goes through fastavro; deviations.py and reading.py where fastavro is wrong
engine.py           the verdict, worded by sentences.py and rendering.py, instances by encoding.py
rules.py, limits.py every rule with its meaning, and how large a schema may be
"""

from qmtl.foundation.schema.compatibility.avro.engine import compare
from qmtl.foundation.schema.compatibility.avro.rules import RULES

__all__ = ["RULES", "compare"]
