"""A QuestDB server for the cases that need one, and what its users would do without this package."""

from __future__ import annotations

import io
import json
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import polars as pl

from benchmarks.figures import Skipped
from qmtl.foundation.timeline import Span
from qmtl.runtime.io.questdb.table import BarTable
from tests.qmtl.questdb import PASSWORD, USER, QuestDBServer, questdb_jar

_LOGIN = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_COLUMNS = "ts, open, high, low, close, volume"


class Bare:
    """A server, and one connection of each kind that is kept open, as its users would."""

    def __init__(self, jar: Path) -> None:
        # Java as it is started without a word about it: what is often done becomes quick.
        self.server = QuestDBServer(jar, java=("-Xmx2g",), settings={"pg.enabled": "true"})
        self._http = HTTPConnection("127.0.0.1", self.server.port)
        self._sender: Any = None
        import psycopg

        self._pg = psycopg.connect(
            host="127.0.0.1",
            port=self.server.pg_port,
            user=USER,
            password=PASSWORD,
            dbname="qdb",
            autocommit=True,
        ).cursor(binary=True)

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close(flush=False)
        self._http.close()
        self.server.remove()

    def asked(self, path: str, **given: str) -> bytes:
        self._http.request("GET", f"{path}?{urlencode(given)}", headers={"Authorization": f"Basic {_LOGIN}"})
        answer = self._http.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"QuestDB answers {answer.status}: {body[:300]!r}")
        return body

    def by_export(self, sql: str) -> pl.DataFrame:
        """A frame by the Parquet export, packed by lz4."""
        return pl.read_parquet(
            io.BytesIO(self.asked("/exp", query=sql, fmt="parquet", compression_codec="lz4_raw"))
        )

    def by_json(self, sql: str) -> pl.DataFrame:
        """A frame by `/exec`, whose stamps are texts."""
        answer = pl.read_json(io.BytesIO(self.asked("/exec", query=sql)))
        return pl.DataFrame(answer["dataset"][0].to_list(), orient="row")

    def by_postgres_wire(self, sql: str) -> pl.DataFrame:
        """A frame by PG wire in its binary form, whose stamps are microseconds."""
        return pl.DataFrame(self._pg.execute(sql.encode()).fetchall(), orient="row")

    def rows_by_postgres_wire(self, sql: str) -> list[Any]:
        """Tuples, of which nobody makes a frame."""
        return self._pg.execute(sql.encode()).fetchall()

    def write(self, table: str, series: str, frame: pl.DataFrame) -> None:
        """Write by QuestDB's client as quickly as it can, and wait until all of it is visible."""
        import pandas as pd
        import questdb

        if self._sender is None:
            password = PASSWORD.replace(";", ";;")
            self._sender = questdb.Sender.from_conf(
                f"http::addr=127.0.0.1:{self.server.port};auto_flush=off;username={USER};password={password};"
            )
            self._sender.establish()
        columns = {name: frame[name].to_physical().to_numpy() for name in frame.columns}
        columns["ts"] = columns["ts"].view("datetime64[ns]")
        names = pd.Categorical.from_codes(
            np.zeros(frame.height, dtype=np.int8), categories=pd.Index([series])
        )
        data = pd.DataFrame({"series": names, "tx": np.zeros(frame.height, dtype=np.int64), **columns})
        self._sender.dataframe(data, table_name=table, symbols=["series"], at="ts")
        self._sender.flush()
        self.wait(table)

    def wait(self, table: str) -> None:
        """Until all that was written is visible."""
        sql = f"SELECT sequencerTxn - writerTxn FROM wal_tables() WHERE name = '{table}'"
        while json.loads(self.asked("/exec", query=sql))["dataset"][0][0]:
            time.sleep(0.001)

    def make(self, table: BarTable, name: str) -> None:
        """A table like that of a store."""
        self.asked("/exec", query=f"CREATE TABLE {name} (LIKE {table.name})")


@contextmanager
def bare() -> Iterator[Bare]:
    """Raises `Skipped` where no server can be started."""
    jar = questdb_jar()
    if jar is None:
        raise Skipped("QuestDB is not there: scripts/get_questdb.sh, and Java 17")
    lacking = [name for name in ("questdb", "psycopg") if find_spec(name) is None]
    if lacking:
        raise Skipped(f"{lacking[0]} is not installed: pip install 'qmtl[questdb,postgres]'")
    made = Bare(jar)
    try:
        yield made
    finally:
        made.close()


def bars_of(table: str, names: Sequence[str], span: Span, *, with_series: bool = False) -> str:
    """The query of somebody who wants bars of series."""
    listed = ", ".join(f"'{name}'" for name in names)
    columns = f"series, {_COLUMNS}" if with_series else _COLUMNS
    return (
        f"SELECT {columns} FROM {table} WHERE series IN ({listed}) AND ts >= {span.start} AND ts < {span.end}"
    )
