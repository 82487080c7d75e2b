"""The address of a desk's own table of bars in QuestDB, and how it is shown: without its password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from qmtl.foundation.errors import InvalidRequestError
from qmtl.foundation.questdb_login import QUOTED, QuestDBLogin, parts_of, secrets_of
from qmtl.foundation.series import SeriesId

# What a table has to have, what it may have, and what beside them says of which series its rows are.
_BARS = ("ts", "open", "high", "low", "close", "volume")
_COLUMNS = (*_BARS, "symbol", "updated_at")
_OPTIONS = {"table", "columns", "series"}
_SHOWN = "questdb://user@host:9000?table=trades_1m&columns=ts=timestamp,open=o,symbol=sym"


@dataclass(frozen=True)
class QuestDBTableAddress(QuestDBLogin):
    """Which table, and which of its columns are those of bars.

    columns: the names of `ts`, `open`, `high`, `low`, `close`, and where there are such of `volume`, `symbol`
    and `updated_at`. series: of which all rows are; None where the column of symbols tells.
    """

    table: str
    columns: Mapping[str, str]
    series: SeriesId | None

    @property
    def shown(self) -> str:
        """The address for people; of columns it says nothing."""
        return f"{super().shown}?table={self.table}"

    @classmethod
    def parse(cls, text: str) -> QuestDBTableAddress:
        """Raises `InvalidRequestError`, which does not show the password, for what is no such address."""
        try:
            parts = parts_of(text)
        except ValueError as failure:
            raise _refused(str(failure)) from None
        try:
            if "@" in parts.query:
                raise ValueError("a part of a password may be in there")
            given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise _refused(f"what follows its ? cannot be read; {QUOTED}") from None
        options = dict(given)
        if "catalog" in options:
            raise InvalidRequestError(
                "a store is no vendor",
                why="the address names a catalog, which a store has, and no table of a desk",
                next_step=f"give it as the store (`seamless.store`, `--store`); a vendor is {_SHOWN}",
            )
        if unknown := sorted(set(options) - _OPTIONS):
            raise _refused(f"{unknown[0]!r} is no option of it; there are table, columns and series")
        if len(options) < len(given):
            raise _refused("it names an option twice")
        table = options.get("table", "")
        if not table:
            raise _refused("it names no table")
        columns = _columns_of(options.get("columns", ""))
        _refuse_odd(table, *columns.values())
        series = SeriesId.parse(options["series"]) if "series" in options else None
        if (series is None) == ("symbol" not in columns):
            raise _refused(
                "it does not say of which series its rows are: name the column of symbols by "
                "columns=symbol=..., or, where all rows are of one series, that one by series=..."
                if series is None
                else "it names a column of symbols and a series: where all rows are of one series, leave "
                "symbol= out"
            )
        secrets = secrets_of((parts.password, parts.written))
        return cls(
            parts.host, parts.port, parts.user, parts.password, table, columns, series, secrets=secrets
        )


def _columns_of(text: str) -> dict[str, str]:
    """The column for each name of ours; what is not named is called as we call it."""
    found = {name: name for name in _BARS}
    named: set[str] = set()
    for item in filter(None, text.split(",")):
        name, sign, column = (part.strip() for part in item.partition("="))
        if name not in _COLUMNS:
            raise _refused(f"{name!r} is none of the columns {', '.join(_COLUMNS)}")
        if name in named:
            raise _refused(f"it names the column {name} twice")
        if not sign or (not column and name != "volume"):
            raise _refused(f"it names no column for {name}; only volume may be empty, where there is none")
        named.add(name)
        found[name] = column
    return {name: column for name, column in found.items() if column}


def _refuse_odd(*names: str) -> None:
    for name in names:
        if not name.isprintable() or set(name) & set("\"'\\"):
            raise _refused(f"{name!r} is no name of a table or column in QuestDB")


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        "the address of the table cannot be used", why=why, next_step=f"write it as {_SHOWN}"
    )
