"""What failures of PostgreSQL mean to people, and what they can do."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import errors

from qmtl.foundation.errors import StoreCorruptError, StoreError, StoreLockedError
from qmtl.foundation.series import SeriesId
from qmtl.foundation.store_address import StoreAddress
from qmtl.foundation.timeline import Span


def is_full(failure: BaseException | None) -> bool:
    """Whether the server could not write for want of room."""
    return isinstance(failure, errors.DiskFull)


def meaning(
    failure: Exception, address: StoreAddress, series: SeriesId | None, span: Span | None
) -> StoreError:
    kind, what, next_step = _meaning_of(failure)
    return kind(
        what,
        path=address.shown,
        series=series,
        span=span,
        why=f"PostgreSQL says: {_words_of(failure, address)}",
        next_step=next_step,
    )


def _words_of(failure: Exception, address: StoreAddress) -> str:
    """What it says, without a password, as one line: libpq sets its advice below, behind a tab."""
    return " ".join(address.redacted(str(failure)).split())


def unreachable(failure: psycopg.Error, address: StoreAddress) -> StoreError:
    """No connection could be opened. The server says why in words only."""
    text = _words_of(failure, address)
    what, next_step = next((found for part, found in _REFUSALS if part in text), _NO_CONNECTION)
    kind = NoConnectionLeftError if what == _NONE_LEFT else StoreError
    return kind(what, path=address.shown, why=f"PostgreSQL says: {text}", next_step=next_step)


def damaged_layout(address: StoreAddress, altered: Sequence[str]) -> StoreCorruptError:
    """Somebody has altered the tables."""
    more = f", and {len(altered) - 3} more" if len(altered) > 3 else ""
    return StoreCorruptError(
        _ALTERED[0], path=address.shown, why=f"{'; '.join(altered[:3])}{more}", next_step=_ALTERED[1]
    )


class NoConnectionLeftError(StoreError):
    """The server, or this user of it, has as many connections as it may have."""


def pooled(address: StoreAddress, why: str) -> StoreError:
    """A pooler does not keep the settings of a session, so that statements would meet another schema."""
    return StoreError(_POOLED[0], path=address.shown, why=why, next_step=_POOLED[1])


_POOLED = (
    "a pooler between here and the database does not keep the settings of a session",
    "connect to the server itself; a process keeps no more than a few connections",
)
_ALTERED = (
    "the layout of the store is damaged",
    "a table of the store was changed or dropped, or this user may no longer use the schema: change it back,"
    " let its owner give the right (qmtl store grant), or bring the database back from a backup",
)
_NONE_LEFT = "the database has no connection left"
_OR_FEWER = "or let fewer programs connect"


_NO_CONNECTION = (
    "the database cannot be reached",
    "check the address, and that the server runs and lets this machine connect",
)
_REFUSALS = (
    ("unsupported startup parameter", _POOLED),
    (
        "too many connections for",
        (_NONE_LEFT, f"raise the CONNECTION LIMIT of the role or database, {_OR_FEWER}"),
    ),
    ("too many", (_NONE_LEFT, f"raise max_connections, {_OR_FEWER}")),
    ("remaining connection slots", (_NONE_LEFT, f"raise max_connections, {_OR_FEWER}")),
    (
        "password",
        (
            "the database refuses the login",
            "give the password in ~/.pgpass, PGPASSWORD or the address, and check the name of the user",
        ),
    ),
    ("role ", ("the database refuses the login", "name a user that the server knows: user@host")),
    (
        "pg_hba.conf",
        ("the database refuses the login", "let the server accept this user and machine (pg_hba.conf)"),
    ),
    ("does not exist", ("there is no such database", "create it (createdb), or name another one")),
    (
        "Hot standby mode is disabled",
        ("the server is a replica that answers nobody", "set hot_standby = on there, or name another server"),
    ),
    # While it repairs itself after a crash it says any of these (SQLSTATE 57P03).
    *(
        (words, ("the database is starting", "repeat in a moment"))
        for words in ("starting up", "in recovery mode", "not accepting connections", "not yet accepting")
    ),
    ("shutting down", ("the database is shutting down", "repeat once it runs again")),
    ("invalid", ("the address of the store cannot be used", "correct the address")),
)


def _meaning_of(failure: Exception) -> tuple[type[StoreError], str, str]:
    for kinds, found in _MEANINGS:
        if isinstance(failure, kinds):
            return found
    return StoreError, "PostgreSQL failed", "look into the log of the server"


_MEANINGS: tuple[
    tuple[type[Exception] | tuple[type[Exception], ...], tuple[type[StoreError], str, str]], ...
] = (
    (
        errors.DiskFull,
        (
            StoreError,
            "there is no room left for the store",
            "free some space on the server and repeat; what was being written was not kept",
        ),
    ),
    (
        errors.LockNotAvailable,
        (StoreLockedError, "another writer has held the store for too long", "repeat; or end that writer"),
    ),
    (
        errors.DeadlockDetected,
        (
            StoreError,
            "the server has ended a statement, for somebody has the tables for himself",
            "repeat; what was not committed was not kept",
        ),
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted),
        (
            StoreCorruptError,
            "the database of the store is damaged",
            "look into the log of the server; bring the database back from a backup",
        ),
    ),
    (
        (
            *(errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName),
            # What statements, and plans of them that are kept, meet where a column has another type.
            *(errors.UndefinedFunction, errors.DatatypeMismatch, errors.FeatureNotSupported),
            # There is no key any more that a row could be in conflict with.
            errors.InvalidColumnReference,
        ),
        (StoreCorruptError, *_ALTERED),
    ),
    (
        errors.InsufficientPrivilege,
        (
            StoreError,
            "this user has no right to do that",
            "let the owner of the store grant it, or connect as another user",
        ),
    ),
    (
        errors.ReadOnlySqlTransaction,
        (
            StoreError,
            "the store cannot be written",
            "name the primary server: a replica in recovery can only be read",
        ),
    ),
    (
        errors.QueryCanceled,
        (
            StoreError,
            "the server has ended a statement",
            "repeat; where the server says that its statement_timeout is over, raise that first",
        ),
    ),
    (
        psycopg.OperationalError,
        (
            StoreError,
            "the connection to the database was lost",
            "repeat once the server can be reached; what was not committed was not kept",
        ),
    ),
)
