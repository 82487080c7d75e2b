"""A string with a length and expressions that it fits or does not."""

from __future__ import annotations

from functools import cached_property

from qmtl.foundation.schema.compatibility.json_schema.constraints.base import Constraints
from qmtl.foundation.schema.compatibility.json_schema.regex_language.search import (
    Wanted,
    find_words,
    literally,
)


class Strings(Constraints):
    @cached_property
    def wanted(self) -> Wanted:
        refuse = [*self.denied("pattern")]
        refuse += [literally(value) for value in self.excluded.values() if isinstance(value, str)]
        return Wanted(
            tuple(dict.fromkeys(self.stated("pattern"))),
            tuple(dict.fromkeys(refuse)),
            int(self.largest("minLength") or 0),
            None if (longest := self.smallest("maxLength")) is None else int(longest),
        )

    def is_empty(self) -> bool:
        """True where there is certainly no such string."""
        wanted = self.wanted
        if not wanted.accept and not wanted.refuse:
            return wanted.longest is not None and wanted.longest < wanted.shortest
        return find_words(wanted).none_exists
