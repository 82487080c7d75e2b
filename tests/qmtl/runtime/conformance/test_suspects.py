"""What is requested from a source once more: impossible rows, and silences not queried recently."""

from __future__ import annotations

import numpy as np

from qmtl.foundation.grid import Grid
from qmtl.foundation.series import Timeframe
from qmtl.foundation.timeline import EMPTY, Coverage, Span
from qmtl.foundation.times import MINUTE
from qmtl.runtime.conformance.flags import EMPTY_FLAGS, Flags
from qmtl.runtime.conformance.rules import SILENCE
from qmtl.runtime.conformance.suspects import suspects

GRID = Grid(Timeframe.parse("1m"))
SILENT = Coverage.of(Span(10 * MINUTE, 20 * MINUTE))


def minutes(*opens: int) -> Coverage:
    return Coverage((minute * MINUTE, (minute + 1) * MINUTE) for minute in opens)


def flagged(**rules: tuple[int, ...]) -> Flags:
    found = {name.replace("__", "."): np.array(at) * MINUTE for name, at in rules.items()}
    return Flags.of(found, {SILENCE: SILENT})


def test_a_clean_range_has_none_whatever_else_was_answered() -> None:
    assert suspects(EMPTY_FLAGS, GRID, silent=SILENT, recently_queried=EMPTY) == EMPTY


def test_rows_that_break_an_error_rule_are_suspicious_and_those_of_a_warning_are_not() -> None:
    flags = flagged(quality__high_below_low=(3, 7), quality__price_spike=(5,))
    assert suspects(flags, GRID, silent=EMPTY, recently_queried=EMPTY) == minutes(3, 7)


def test_a_row_that_breaks_two_rules_is_asked_for_once() -> None:
    flags = flagged(quality__high_below_low=(3,), quality__nonpositive_price=(3,))
    assert suspects(flags, GRID, silent=EMPTY, recently_queried=EMPTY) == minutes(3)


def test_a_silence_is_not_queried_again_where_it_was_queried_recently() -> None:
    recent = Coverage.of(Span(0, 15 * MINUTE))
    assert suspects(flagged(), GRID, silent=SILENT, recently_queried=recent) == SILENT - recent
    assert suspects(flagged(), GRID, silent=SILENT, recently_queried=SILENT) == EMPTY


def test_an_impossible_row_is_requested_again_however_recently_it_came() -> None:
    flags = flagged(quality__high_below_low=(3,))
    assert suspects(
        flags, GRID, silent=SILENT, recently_queried=Coverage.of(Span(0, 60 * MINUTE))
    ) == minutes(3)
