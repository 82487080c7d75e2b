"""Stores of a state machine in tables that others have used: each has a copy of one empty catalog."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from tests.qmtl.questdb import QuestDBServer


class UsedTables:
    """Inherit it beside the machine; the fixture `tables_of_the_machine` says where they are."""

    server: ClassVar[QuestDBServer]
    catalog: ClassVar[Path]
    name: ClassVar[str]
    folder: Path

    def empty_url(self) -> str:
        """The address of an empty store, in a new folder."""
        self.folder = Path(tempfile.mkdtemp())
        shutil.copytree(UsedTables.catalog, self.folder / "catalog")
        return UsedTables.server.url(self.folder / "catalog", UsedTables.name)
