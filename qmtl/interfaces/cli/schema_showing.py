"""How verdicts and schemas are shown to people, and how machines get them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from qmtl.foundation.schema.compatibility.levels import Comparison, Level

# A longer instance is not for the eyes of people.
_SHOWN_BYTES = 4096

_WORDS = {
    "backward": "the new schema reads what version {0} wrote",
    "forward": "version {0} reads what the new schema writes",
}
# So many equal lines are shown around what differs.
_AROUND = 3


def pretty(text: str) -> str:
    """A schema as people read it; a text that is no JSON as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def comparisons_text(subject: str, level: Level, comparisons: Sequence[Comparison]) -> Text:
    """A line for each comparison, and below it what breaks, with the instance that shows it."""
    lines = Text()
    if not comparisons:
        lines.append(f"{subject}: nothing to compare with at the level {level}; compatible")
    for number, one in enumerate(comparisons):
        lines.append("\n" if number else "")
        fine = one.verdict.is_compatible
        lines.append("compatible" if fine else "incompatible", "green" if fine else "bold red")
        lines.append(f": {_WORDS[one.direction].format(one.version)} ({level})")
        for problem in one.verdict.problems:
            where = problem.path or "the whole schema"
            lines.append(f"\n  {where}  {problem.rule}\n    {problem.message}")
            if problem.undecided:
                lines.append("\n    undecided, which counts as incompatible", "yellow")
            if problem.counterexample is not None:
                writer, reader = (
                    (f"version {one.version}", "the new schema")
                    if one.direction == "backward"
                    else ("the new schema", f"version {one.version}")
                )
                lines.append(f"\n    {writer} may write this, and {reader} rejects it:\n")
                shown = json.dumps(problem.counterexample.value, indent=2, ensure_ascii=False)
                size = len(shown.encode())
                if size > _SHOWN_BYTES:
                    # A part of an instance is none, and would mislead.
                    shown = f"an instance of {size:,} bytes, too long to show here; --json gives it whole"
                lines.append("\n".join(f"      {line}" for line in shown.splitlines()), "cyan")
        for notice in one.verdict.notices:
            lines.append(f"\n  {notice.path or 'the whole schema'}  {notice.rule}\n    ")
            lines.append("worth knowing: ", "yellow")
            lines.append(notice.message)
    return lines


def comparisons_json(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Every comparison with its problems; `counterexample` is there where one was found."""
    return [
        {
            "version": one.version,
            "direction": one.direction,
            "compatible": one.verdict.is_compatible,
            "problems": [
                {
                    "path": problem.path,
                    "rule": problem.rule,
                    "message": problem.message,
                    "writer": problem.writer,
                    "reader": problem.reader,
                    "undecided": problem.undecided,
                    **(
                        {}
                        if problem.counterexample is None
                        else {"counterexample": problem.counterexample.value}
                    ),
                }
                for problem in one.verdict.problems
            ],
            "notices": [
                {"path": notice.path, "rule": notice.rule, "message": notice.message}
                for notice in one.verdict.notices
            ],
        }
        for one in comparisons
    ]


def side_by_side(old_name: str, new_name: str, old: str, new: str) -> Table:
    """Two texts in two columns; lines that say the same stand beside each other."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    made.add_column("")
    made.add_column(old_name, overflow="fold", ratio=1)
    made.add_column(new_name, overflow="fold", ratio=1)
    left, right = old.splitlines(), new.splitlines()
    for number, group in enumerate(SequenceMatcher(None, left, right, False).get_grouped_opcodes(_AROUND)):
        if number:
            made.add_row("...", "", "")
        for kind, start, end, first, last in group:
            if kind == "equal":
                for line in left[start:end]:
                    made.add_row("", line, line)
                continue
            for before, after in zip_longest(left[start:end], right[first:last]):
                mark = "-" if after is None else "+" if before is None else "~"
                made.add_row(mark, Text(before or "", "red"), Text(after or "", "green"))
    return made


def changes(old: str, new: str) -> list[dict[str, Any]]:
    """What differs between two JSON texts: `path` (a JSON Pointer), `change`, `old`, `new`."""
    return list(_changes(json.loads(old), json.loads(new), ""))


def _changes(old: Any, new: Any, path: str) -> Iterator[dict[str, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key not in new:
                yield {"path": place, "change": "removed", "old": old[key]}
            elif key not in old:
                yield {"path": place, "change": "added", "new": new[key]}
            else:
                yield from _changes(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _changes(before, after, f"{path}/{number}")
    elif json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):
        yield {"path": path, "change": "changed", "old": old, "new": new}
