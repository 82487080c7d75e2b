"""A tombstoned version is refused when it is asked for by its number, and skipped as the latest.

Its id still answers, so that what was written with it can be read, and so does `deleted=True`.
"""

from __future__ import annotations

from qmtl.foundation.errors import SchemaRegistryError
from qmtl.foundation.schema.registry.contract import Version
from qmtl.foundation.schema.registry.records import governed
from qmtl.foundation.schema.registry.rules import versions
from qmtl.foundation.schema.registry.storage import RegistryView, VersionRow


def passed(view: RegistryView, row: VersionRow, version: Version) -> VersionRow:
    """The row itself, or of "latest" the newest that is not tombstoned; 40402 with the reason without one."""
    found = governed(view, row.subject)
    if row.version not in found.tombstones:
        return row
    if version == "latest":
        rows = {one.version: one for one in versions.of_subject(view, row.subject, deleted=False)}
        newest = found.newest(rows)
        if newest is not None:
            return rows[newest]
    raise SchemaRegistryError(
        f"version {row.version} of {row.subject!r} is tombstoned: {found.tombstones[row.version]}",
        code=40402,
        next_step="use another version; with deleted=true it can still be read",
    )
