"""Statements that need not wait for each other go to the server together: one round trip for all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from qmtl.runtime.io.sql.postgres.sets import Asked


def made_together(raw: psycopg.Connection[Any], statements: Iterable[Asked]) -> list[psycopg.Cursor[Any]]:
    """What statements have found or done, made in their order.

    Raises the error of the first that fails; none behind it is made.
    """
    cursors: list[psycopg.Cursor[Any]] = []
    failures: list[psycopg.Error] = []
    try:
        with raw.pipeline():
            try:
                for text, values in statements:
                    cursor = raw.cursor(binary=True)
                    cursor.execute(text, values or None)
                    cursors.append(cursor)
            except psycopg.Error as first:
                # A pipeline that is left by an error logs what else fails as it ends.
                failures.append(first)
    except psycopg.Error as last:
        failures.append(last)
    if failures:
        raise failures[0]
    return cursors
