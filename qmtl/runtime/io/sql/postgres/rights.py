"""What a role may do with a store: the rights of a reader and a writer, what it lacks, how it gets them."""

from __future__ import annotations

from enum import StrEnum

from qmtl.foundation.errors import InvalidRequestError, StoreError
from qmtl.runtime.io.sql.dialect import Connection
from qmtl.runtime.io.sql.postgres.layout import TABLES, quoted


class Right(StrEnum):
    """What a role may do. Whoever has made the schema owns it, and may do everything."""

    none = "none"
    reader = "reader"
    writer = "writer"


# What writers do to the rows of each table, and nothing beside it. Who the store is, they do not change.
_WRITES: dict[str, tuple[str, ...]] = {
    "identity": (),
    "setting": ("UPDATE",),
    "series": ("INSERT", "UPDATE", "DELETE"),
    "tx": ("INSERT", "DELETE"),
    "reason": ("INSERT",),
    "chunk": ("INSERT", "UPDATE", "DELETE"),
    "blob": ("INSERT", "DELETE"),
    "hot": ("INSERT", "UPDATE", "DELETE"),
    "answer": ("INSERT", "UPDATE", "DELETE"),
    "facts": ("INSERT", "UPDATE", "DELETE"),
    "lost": ("INSERT", "UPDATE", "DELETE"),
    "quarantine": ("INSERT",),
    "pin": ("INSERT", "DELETE"),
    "report": ("INSERT",),
    "accepted": ("INSERT",),
    "fence": ("INSERT", "UPDATE"),
    "delivery": ("INSERT", "UPDATE", "DELETE"),
    "stream_session": (),  # nothing writes it yet
    "kept_flags": ("INSERT", "DELETE"),
    "schema_decision": ("INSERT",),
    "schema_observation": ("INSERT", "UPDATE"),
}
NEEDED: dict[Right, dict[str, tuple[str, ...]]] = {
    Right.none: {},
    Right.reader: dict.fromkeys(TABLES, ("SELECT",)),
    Right.writer: {table: ("SELECT", *_WRITES[table]) for table in TABLES},
}


def lacking(connection: Connection, right: Right) -> str:
    """What a reader or a writer needs and the user lacks, such as "INSERT on the table tx"; "" if nothing."""
    needed = ", ".join(f"('{table}', '{one}')" for table, each in NEEDED[right].items() for one in each)
    verbs, first, tables = connection.execute(
        "SELECT string_agg(DISTINCT needed, ', ' ORDER BY needed), min(name), count(DISTINCT name)"
        f" FROM (VALUES {needed}) AS rights (name, needed) WHERE NOT has_table_privilege(name, needed)"
    ).fetchone()
    if not tables:
        return ""
    return f"{verbs} on the table {first}" + (f" and {tables - 1} more" if tables > 1 else "")


def grant(connection: Connection, schema: str, right: Right, role: str) -> list[str]:
    """Let a role have one of the rights and nothing more of its own; the statements that did it.

    Raises `InvalidRequestError` for a role that is unknown, or owns the store; `StoreError` where this user
    does not own it. What the role has as a member of another one stays.
    """
    owner = refuse_others(connection)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = ?", (role,)).fetchone() is None:
        raise InvalidRequestError(
            f"there is no role {role!r}", next_step=f"make it first: CREATE ROLE {quoted(role)} LOGIN"
        )
    if role == owner:
        raise InvalidRequestError(
            f"{role} owns the store", why="an owner has every right", next_step="name another role"
        )
    done = statements(schema, right, role)
    for statement in done:
        connection.execute(statement)
    return done


def refuse_others(connection: Connection) -> str:
    """Raise `StoreError` for a user who does not own the store; the role that does."""
    owner, is_mine = connection.execute(
        "SELECT rolname, pg_has_role(relowner, 'USAGE')"
        " FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner WHERE pg_class.oid = 'tx'::regclass"
    ).fetchone()
    if not is_mine:
        raise StoreError(
            "only the owner of the store may do that",
            why=f"it belongs to {owner}",
            next_step=f"connect as {owner}",
        )
    return str(owner)


def statements(schema: str, right: Right, role: str) -> list[str]:
    """What makes a right the only one that a role has."""
    place, whom = quoted(schema), quoted(role)
    alike: dict[tuple[str, ...], list[str]] = {}
    for table, each in NEEDED[right].items():
        alike.setdefault(each, []).append(f"{place}.{table}")
    return [
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {place} FROM {whom}",
        f"REVOKE ALL ON SCHEMA {place} FROM {whom}",
        *([f"GRANT USAGE ON SCHEMA {place} TO {whom}"] if alike else []),
        *(f"GRANT {', '.join(each)} ON {', '.join(tables)} TO {whom}" for each, tables in alike.items()),
    ]


def holders(connection: Connection) -> dict[str, Right]:
    """The roles, beside the owner, that may read the store or write it."""
    found = connection.execute(
        "SELECT rolname, bool_or(privilege_type = 'INSERT') FROM pg_class, aclexplode(relacl) AS given"
        " JOIN pg_roles ON pg_roles.oid = given.grantee"
        " WHERE pg_class.oid = 'tx'::regclass AND given.grantee <> relowner GROUP BY rolname ORDER BY rolname"
    ).fetchall()
    return {role: Right.writer if writes else Right.reader for role, writes in found}
