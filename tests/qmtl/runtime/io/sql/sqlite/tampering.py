"""Changes to the file of a store that no store has made."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def tamper(folder: Path, sql: str, *values: object) -> int:
    """Run a statement on the file, past all checksums; how many rows it changed."""
    connection = sqlite3.connect(folder / "bars.sqlite")
    changed = connection.execute(sql, values).rowcount
    connection.commit()
    connection.close()
    return changed
