"""Which file answers which keyword."""

from __future__ import annotations

from qmtl.foundation.schema.compatibility.json_schema.proof import (
    arrays,
    combinations,
    numbers,
    objects,
    strings,
)
from qmtl.foundation.schema.compatibility.json_schema.proof.prover import Tables
from qmtl.foundation.schema.compatibility.json_schema.proof.units import units
from qmtl.foundation.schema.compatibility.json_schema.proof.values import values

TABLES = Tables(
    of_type={
        "number": numbers.ANSWERS,
        "string": strings.ANSWERS,
        "array": arrays.ANSWERS,
        "object": objects.ANSWERS,
    },
    of_every_type=combinations.ANSWERS,
    of_values=values,
    of_node=units,
    is_empty={
        "number": lambda prover, constraints: constraints.is_empty(),
        "string": lambda prover, constraints: constraints.is_empty(),
        "array": arrays.is_empty,
        "object": objects.is_empty,
    },
)
