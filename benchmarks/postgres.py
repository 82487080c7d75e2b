"""A PostgreSQL server for the cases that need one, as the tests start it; and the same store in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Comparison, Skipped
from benchmarks.stopwatch import Times
from qmtl.foundation.clock import SystemClock
from qmtl.runtime.io.sql.upkeep import KeptStore
from qmtl.runtime.sdk.stores import opened_store
from tests.qmtl.postgres import PostgresServer, newest_programs

# The contestants, as the floors of the figures name them.
SERVER, FOLDER = "PostgreSQL", "folder"
FLOOR = "the same with the embedded store, in a folder"


class Places(NamedTuple):
    """Where the stores of one case are: two of each name, one on the server and one in a folder."""

    server: PostgresServer
    folder: Path

    def of(self, name: str) -> dict[str, str]:
        """The addresses of two stores with this name, which need not exist yet."""
        return {SERVER: self.server.url(name), FOLDER: str(self.folder / name)}

    @contextmanager
    def stores(self, name: str) -> Iterator[dict[str, KeptStore]]:
        opened = {
            kind: opened_store(place, clock=SystemClock(), retention=None)
            for kind, place in self.of(name).items()
        }
        try:
            yield opened  # type: ignore[misc]
        finally:
            for store in opened.values():
                store.close()


@contextmanager
def places(folder: Path) -> Iterator[Places]:
    """Raises `Skipped` where no server can be started."""
    programs = newest_programs()
    if programs is None:
        raise Skipped("PostgreSQL's programs are not in /usr/lib/postgresql: apt-get install postgresql")
    if find_spec("psycopg") is None:
        raise Skipped("psycopg is not installed: pip install 'qmtl[postgres]'")
    server = PostgresServer(programs)
    try:
        yield Places(server, folder)
    finally:
        server.remove()


def beside_folder(unit: str, times: dict[str, Times]) -> Comparison:
    """What figures of a server are compared with."""
    return Comparison(unit, times[FOLDER], FLOOR)
