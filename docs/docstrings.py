"""Lists of `name: meaning` in docstrings become lists on the page."""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

# "start, end: what they are", also with a default after a slash; a line that begins a sentence has a capital.
_ITEM = re.compile(r"^([a-z_][\w]*(?:(?:, | / )[a-z_]\w*)*): (?=\S)")


class NamedItems(griffe.Extension):
    """Tells Markdown what people see at once."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)


def listed(text: str) -> str:
    """The docstring with `name: ...` lines, and the indented lines below them, as list items."""
    lines: list[str] = []
    in_item = False
    for line in inspect.cleandoc(text).splitlines():
        item = _ITEM.match(line)
        if item:
            if not in_item:
                lines.append("")
            names = ", ".join(f"`{name}`" for name in re.split(", | / ", item[1]))
            lines.append(f"- {names}: {line[item.end() :]}")
            in_item = True
        elif in_item and line and (line.startswith("    ") or not lines[-1].endswith((".", ";", ":"))):
            lines.append(f"    {line.strip()}")
        elif in_item and line and not line.startswith(" "):
            # The last item goes on without indentation, or a new paragraph begins; both read well below it.
            lines += ["", line]
            in_item = False
        else:
            lines.append(line)
            in_item = in_item and bool(line)
    return "\n".join(lines)
