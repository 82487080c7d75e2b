"""The quick look at many rows says the same as the rules, asked one by one."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qmtl.foundation.facts import SeriesFacts
from qmtl.foundation.frames import VALUES
from qmtl.runtime.conformance.row_rules import all_clear, rules_for

_INFINITY, _NOTHING = float("inf"), float("nan")
_ODD = (None, _NOTHING, _INFINITY, -_INFINITY, 0.0, -0.0, -1.0)

numbers = st.sampled_from([1.0, 1.0, 2.0, 3.0, *_ODD])
rows = st.lists(st.tuples(*[numbers] * 5), max_size=6)
facts = st.builds(SeriesFacts, allow_nonpositive=st.booleans(), has_volume=st.booleans())


def _frame(values: list[tuple[float | None, ...]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema=dict.fromkeys(VALUES, pl.Float64()), orient="row")


@given(values=rows, declared=facts)
@example(values=[(1.0, 1.0, 1.0, 1.0, None)], declared=SeriesFacts(has_volume=False))
@example(values=[(1.0, 1.0, 1.0, 1.0, None)] * 2, declared=SeriesFacts())
@example(values=[(-2.0, -1.0, -2.0, -1.0, 1.0)], declared=SeriesFacts(allow_nonpositive=True))
def test_all_clear_means_that_no_rule_is_broken(
    values: list[tuple[float | None, ...]], declared: SeriesFacts
) -> None:
    frame = _frame(values)
    broken = any(frame.select(rule.fill_null(False).any()).item() for rule in rules_for(declared).values())
    # A look that is not sure asks the rules; a look that is sure must be right.
    assert all_clear(frame, declared) <= (not broken)
    if not any(None in row for row in values):
        assert all_clear(frame, declared) == (not broken)


@pytest.mark.parametrize("declared", [SeriesFacts(), SeriesFacts(has_volume=False)], ids=["volume", "none"])
def test_ordinary_rows_are_clear_at_once(declared: SeriesFacts) -> None:
    volume = 5.0 if declared.has_volume else None
    assert all_clear(_frame([(2.0, 3.0, 1.0, 2.0, volume)] * 100), declared)
