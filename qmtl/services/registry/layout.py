"""The tables of a registry's file, and how a file of an older format gets them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from qmtl.foundation.durable import make_durable
from qmtl.foundation.errors import StoreCorruptError, StoreError
from qmtl.foundation.schema.canonical_form import forms
from qmtl.foundation.schema.documents import Reference, Schema, SchemaType

# 1: an identity was that of the text, and unique. 2: it is what tells schemas apart (canonical_form), so that
# several ids of an older file may share one.
FORMAT = 2
APPLICATION_ID = 0x716D7472  # "qmtr"

# AUTOINCREMENT remembers the highest id that there ever was.
_SCHEMA_TABLE = """
CREATE TABLE {name} (
    id INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL, type TEXT NOT NULL,
    text TEXT NOT NULL, refs TEXT NOT NULL)
"""
_SCHEMA_INDEX = "CREATE INDEX schema_identity ON schema (identity)"

_TABLES = f"""
{_SCHEMA_TABLE.format(name="schema")};
{_SCHEMA_INDEX};
CREATE TABLE reference (
    subject TEXT NOT NULL, version INTEGER NOT NULL, schema INTEGER NOT NULL,
    PRIMARY KEY (subject, version, schema)) WITHOUT ROWID;
CREATE INDEX reference_schema ON reference (schema);
CREATE TABLE version (
    subject TEXT NOT NULL, version INTEGER NOT NULL, schema INTEGER NOT NULL, deleted INTEGER NOT NULL,
    PRIMARY KEY (subject, version)) WITHOUT ROWID;
CREATE INDEX version_schema ON version (schema, subject, version);
CREATE TABLE setting (
    name TEXT NOT NULL, subject TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (name, subject)) WITHOUT ROWID;
CREATE TABLE record (
    kind TEXT NOT NULL, subject TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, subject, key)) WITHOUT ROWID;
"""


def columns_of(schema: Schema) -> tuple[str, str, str]:
    """Type, text and references, as the last columns of a schema's row."""
    return schema.type.value, schema.text, json.dumps(schema.references)


def schema_in(type_: str, text: str, refs: str) -> Schema:
    """The schema that `columns_of` made them of."""
    return Schema(text, SchemaType(type_), tuple(Reference(*one) for one in json.loads(refs)))


def lay_out(connection: sqlite3.Connection, file: Path) -> None:
    """Make the tables of a new file, renew those of an older one, refuse a file that is not ours to read.

    Needs the lock.
    """
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not application and not tables:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
            f"{_TABLES} COMMIT;"
        )
        for place in (file.parent, file.parent.parent):
            make_durable(place)
    elif application != APPLICATION_ID:
        raise StoreCorruptError(
            f"{file} belongs to another program",
            path=file.parent,
            why=f"its SQLite application id is {application:#x}, not {APPLICATION_ID:#x}",
            next_step="name another folder for the registry",
        )
    elif version > FORMAT:
        raise StoreError(
            f"the registry has format {version}; this qmtl reads formats up to {FORMAT}",
            path=file.parent,
            why="a newer qmtl has written it",
            next_step="pip install --upgrade qmtl",
        )
    elif version < FORMAT:
        _renew(connection, file)


def _renew(connection: sqlite3.Connection, file: Path) -> None:
    """From format 1: every schema keeps its id and text, and gets the identity by which it is found now."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_SCHEMA_TABLE.format(name="renewed"))
        for id, *columns in connection.execute("SELECT id, type, text, refs FROM schema ORDER BY id"):
            try:
                identity = _identity_now(schema_in(*columns))
            except ValueError as failure:
                raise StoreCorruptError(
                    f"{file.name} is damaged: the schema with the id {id} cannot be read",
                    path=file.parent,
                    why=str(failure),
                    next_step="bring the file back from a backup, or name another folder",
                ) from failure
            connection.execute("INSERT INTO renewed VALUES (?, ?, ?, ?, ?)", (id, identity, *columns))
        # The highest id that there ever was may stand for no schema any more.
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'renewed'")
        connection.execute("UPDATE sqlite_sequence SET name = 'renewed' WHERE name = 'schema'")
        connection.execute("DROP TABLE schema")
        connection.execute("ALTER TABLE renewed RENAME TO schema")
        connection.execute(_SCHEMA_INDEX)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _identity_now(schema: Schema) -> str:
    if schema.type is SchemaType.JSON:
        return forms.first_identity(schema)
    return forms.identity(forms.stored(schema))
