"""Which expressions give a window what they give it alone, where many windows are aggregated beside it.

polars has other ways for groups than for a frame: it adds up in another order what was sorted, shifted or
filled, keeps distinct values in another, gives categories numbers across groups, multiplies by the
reciprocal where it would divide, and leaves a zero below zero what it is where it would add one above. Only
what is known to come to the same bits counts. polars writes expressions as JSON, in a form that other
versions may change: what is not understood does not count.
"""

from __future__ import annotations

from collections.abc import Callable

from qmtl.runtime.replay.rowwise import Written, holds, is_named, is_rowwise

# Sums, whose digits depend on the order in which they are added up; and what only chooses or counts.
_SUMS = {"Sum", "Mean", "Std", "Var"}
_CHOICES = {"Min", "Max", "First", "Last", "Median", "Count", "NUnique"}

# What gives each row a value by the rows of its window.
_IN_TURN = {
    *("Shift", "Diff", "CumMax", "CumMin", "CumSum", "CumCount", "EwmMean", "EwmStd", "EwmVar", "Rank"),
    *("Mean", "Sum", "Min", "Max", "Std", "Var"),  # that roll
}
# Of a time, and of a number, what `is_rowwise` does not know.
_ROWWISE = {
    *("Year", "Month", "Day", "Hour", "Minute", "Second", "WeekDay", "OrdinalDay", "Quarter", "Week"),
    *("Date", "Time", "TimeStamp", "ConvertTimeZone", "TotalSeconds", "TotalMinutes", "TotalHours"),
    *("Floor", "Ceil", "Round"),
}


def may_stand_together(expression: Written, width: int) -> bool:
    """Whether it may be given windows of so many rows together: it is row-wise in numbers of the window."""
    return _is_made_of(expression, lambda part: part == "Len" or _is_aggregate(part, width))


def _is_aggregate(expression: Written, width: int) -> bool:
    match expression:
        case {"Agg": dict(one)} if len(one) == 1:
            ((kind, inner),) = one.items()
            match inner:
                case {"input": of} | [of, int()]:
                    inner = of
            if kind in _SUMS:
                # To one number, zero is added for a window alone, and nothing for one of many.
                return _is_of_rows(inner) and _rows(inner, width) > 1
            return kind in _CHOICES and _is_in_turn(inner)
        case {"Function": {"input": [of, *more], "function": function}}:
            is_one = function == "NullCount" or _name_of(function) in ("Any", "All")
            is_one |= isinstance(function, dict) and "Quantile" in function
            return is_one and _is_in_turn(of) and all(map(_is_constant, more))
    return False


def _is_of_rows(expression: Written) -> bool:
    """Whether each row of it is that of the row alone; of the newest or the oldest rows, too."""
    match expression:
        case {"Slice": {"input": of, "offset": {"Literal": {"Dyn": _}}, "length": {"Literal": {"Dyn": _}}}}:
            return _is_of_rows(of)
    return _is_made_of(expression, _is_column)


def _rows(expression: Written, width: int) -> int:
    """How many rows are left of so many; 0 where it is not known."""
    match expression:
        case {
            "Slice": {
                "input": of,
                "offset": {"Literal": {"Dyn": {"Int": int(offset)}}},
                "length": {"Literal": {"Dyn": {"Int": int(length)}}},
            }
        }:
            before = _rows(of, width)
            if offset >= 0:
                return max(0, min(length, before - offset))
            # Of a slice that begins before the first row only `tail` is sure.
            return min(length, -offset, before) if -offset <= before or -offset == length else 0
        case {"Slice": _}:
            return 0
    return width


def _is_in_turn(expression: Written) -> bool:
    match expression:
        case {"Slice": {"input": of, "offset": {"Literal": {"Dyn": _}}, "length": {"Literal": {"Dyn": _}}}}:
            return _is_in_turn(of)
        case {"Function": {"input": [of, *more], "function": function}} if _name_of(function) in _IN_TURN:
            return _is_made_of(of, _is_column) and all(map(_is_constant, more))
    return _is_made_of(expression, _is_column)


def _is_made_of(expression: Written, is_part: Callable[[Written], bool]) -> bool:
    """As `is_rowwise`, with functions of times and roundings as well."""

    def may_stand(part: Written) -> bool:
        match part:
            case {"Function": {"input": list(inputs), "function": function}} if (
                _name_of(function) in _ROWWISE
            ):
                # Of numbers alone it is a number, which `is_rowwise` has to know.
                return all(_is_made_of(one, is_part) for one in inputs) and holds(inputs, is_part)
        return is_part(part)

    return is_rowwise(expression, may_stand)


def _is_column(expression: Written) -> bool:
    match expression:
        case {"Selector": _}:
            return True
    return is_named(expression)


def _is_constant(expression: Written) -> bool:
    match expression:
        case {"Literal": {"Dyn": _}}:
            return True
    return False


def _name_of(function: Written) -> str:
    """The innermost of its names: {"Boolean": "Any"} is "Any"."""
    match function:
        case str(name) | {"RollingExpr": {"function": str(name)}}:
            return name
        case {"Boolean": kind} | {"TemporalExpr": kind}:
            return _name_of(kind)
        case dict() if len(function) == 1:
            return str(next(iter(function)))
    return ""
