"""QuestDB over HTTP: statements, exports, and rows by its own client; and few rows by `wire`."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmtl.foundation.errors import StoreError
from qmtl.foundation.questdb_login import QuestDBLogin
from qmtl.runtime.io.questdb.wire import Wire, WireError, fill
from qmtl.runtime.io.store.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

# How long an answer may take, and how long an export waits for others to end.
_PATIENCE_S = 60.0
_BUSY_S = 30.0
# Bytes of an answer that is worth more than one thread.
_LARGE = 1 << 20
# How long the client repeats what the network has lost. Rows that come twice are one, by their key.
_REPEAT_MS = 3_000
# How often a parameter is asked for. To those who ask at the same moment, 9.3.4 gives the answers of each
# other, none, or an error: a value that it gives twice is believed, and silence only if it says nothing else.
_MIXED_UP = 50
# How long the other protocol is left alone after it has failed.
_REST_S = 30.0
# The user that QuestDB has where nobody has set one.
_ADMIN = ("admin", "quest")

_log = logging.getLogger("seamless.store")


class QuestDBServer:
    """Any thread may call any method. Whatever fails is a `StoreError` with the server's own reason."""

    def __init__(self, address: QuestDBLogin, pg: int | None = None) -> None:
        self.address = address
        login = (address.user, address.password) if address.user else _ADMIN
        self._wire = None if pg is None else Wire(address.host, pg, *login)
        self._rests_until = 0.0
        # It answers again after it did not, and may have been restarted; until somebody makes this False.
        self.is_back = False
        self._is_away = False
        self._exports: threading.Semaphore | None = None
        self._lock = threading.Lock()
        # Connections of the client that nobody uses now, and the process that has opened them.
        self._senders: list[Any] = []
        self._process = os.getpid()

    def query(self, sql: str) -> list[list[Any]]:
        """The rows that a statement finds. Raises `StatementError` where the server refuses it."""
        status, body = self._asked("/exec", {"query": sql})
        if status != 200:
            raise self._refusal(status, body)
        try:
            found: list[list[Any]] = json.loads(body).get("dataset", [])
        except ValueError as failure:
            raise self._broken(failure) from failure
        return found

    def parameter(self, name: str) -> str | None:
        """What the server was set up to; None if it does not say."""
        said: set[str] = set()
        for _ in range(_MIXED_UP):
            try:
                found = self.query(
                    f"SELECT property_path, value FROM (SHOW PARAMETERS) WHERE property_path = '{name}'"
                )
            except StatementError:
                continue
            if [row[0] for row in found] != [name]:
                continue
            value = str(found[0][1])
            if value in said:
                return value
            said.add(value)
        return None

    def export(self, sql: str) -> pa.Table:
        """What a query finds, as a table of Arrow; large answers come so in a tenth of the time."""
        given = {"query": sql, "fmt": "parquet", "compression_codec": "lz4_raw"}
        deadline = time.monotonic() + _BUSY_S
        with self._turn():
            # The limit is the server's: programs beside this one use it as well.
            while (answer := self._asked("/exp", given))[0] == 429 and time.monotonic() < deadline:
                time.sleep(0.02)
        status, body = answer
        if status != 200:
            raise self._refusal(status, body)
        try:
            # Not by polars: its threads hang in a process that was forked, those of Arrow begin anew there.
            return pq.ParquetFile(pa.BufferReader(body)).read(use_threads=len(body) > _LARGE)
        except (pa.ArrowException, OSError) as failure:
            raise self._broken(failure) from failure

    def pour(self, sql: str, values: Sequence[str | int], target: Rows) -> bool:
        """Put the few rows of a query into `target`, with stamps as numbers; False where they do not come so.

        values: those of its `$1`, `$2` and so on.

        Then an export says what there is, and what is the matter if anything is.
        """
        if self._wire is None or time.monotonic() < self._rests_until:
            return False
        try:
            found = self._wire.ask(sql, values)
        except (OSError, WireError) as failure:
            self._rests_until = time.monotonic() + _REST_S
            _log.warning(
                "few bars come by an export, and later, for pg= of %s does not work: %s",
                self.address.shown,
                self._why(failure),
            )
            return False
        self._answers()
        return found is not None and fill(found, target)

    def pg_trouble(self) -> str | None:
        """Why few rows do not come as the address says; None where they do, or where it says nothing."""
        try:
            is_there = self._wire is None or self._wire.ask("SELECT 1::long") is not None
        except (OSError, WireError) as failure:
            return self._why(failure)
        return None if is_there else "it refuses a statement"

    def _why(self, failure: Exception) -> str:
        return self.address.redacted(f"{type(failure).__name__}: {failure}")

    def send(self, table: str, series: str, numbers: list[int], chunks: list[Rows]) -> None:
        """Write chunks of rows of a series, each under its number. They become visible some time later."""
        import pandas as pd  # with the client, for those who write

        total = sum(rows.size for rows in chunks)
        columns = {name: np.concatenate([getattr(rows, name) for rows in chunks]) for name in Rows._fields}
        frame = pd.DataFrame(
            {
                "series": pd.Categorical.from_codes(
                    np.zeros(total, dtype=np.int8), categories=pd.Index([series])
                ),
                "tx": np.repeat(np.array(numbers, dtype=np.int64), [rows.size for rows in chunks]),
                **columns,
                "ts": columns["ts"].view("datetime64[ns]"),
            }
        )
        self.send_frame(table, frame, symbols=["series"])

    def send_frame(self, table: str, frame: pd.DataFrame, *, symbols: Sequence[str] = ()) -> None:
        """Write rows with the times of the column `ts`, in one transaction; visible some time later."""
        import questdb

        sender = self._sender()
        try:
            if sender is None:
                sender = questdb.Sender.from_conf(self._conf())
                sender.establish()  # type: ignore[no-untyped-call]  # its stub says nothing of it
            sender.dataframe(frame, table_name=table, symbols=list(symbols), at="ts")
            sender.flush()
        except questdb.QuestDBError as failure:
            if sender is not None:
                sender.close(flush=False)  # what it holds was not taken
            raise self._unwritten(str(failure)) from failure
        with self._lock:
            self._senders.append(sender)

    def _sender(self) -> Any:
        """One that was used before, or None."""
        with self._lock:
            if self._process != os.getpid():  # those of the parent stay the parent's
                self._process, self._senders = os.getpid(), []
            return self._senders.pop() if self._senders else None

    def close(self) -> None:
        """Close the connections that are kept."""
        while (sender := self._sender()) is not None:
            sender.close(flush=False)
        if self._wire is not None:
            self._wire.close()

    def _conf(self) -> str:
        address = self.address
        options = [f"addr={address.host}:{address.port}", "auto_flush=off", f"retry_timeout={_REPEAT_MS}"]
        if address.user:
            options += [f"{name}={value.replace(';', ';;')}" for name, value in self._login().items()]
        return f"http::{';'.join(options)};"

    def _login(self) -> dict[str, str]:
        return {"username": self.address.user, "password": self.address.password}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """As many exports at once as the server takes."""
        with self._lock:
            if self._exports is None:
                limit = self.parameter("http.export.connection.limit")
                self._exports = threading.Semaphore(max(1, int(limit or 1)))
        with self._exports:
            yield

    def _asked(self, path: str, given: dict[str, str]) -> tuple[int, bytes]:
        headers = {}
        if self.address.user:
            login = f"{self.address.user}:{self.address.password}".encode()
            headers["Authorization"] = f"Basic {b64encode(login).decode()}"
        connection = HTTPConnection(self.address.host, self.address.port, timeout=_PATIENCE_S)
        try:
            connection.request("GET", f"{path}?{urlencode(given)}", headers=headers)
            answer: HTTPResponse = connection.getresponse()
            found = answer.status, answer.read()
        except (OSError, HTTPException) as failure:
            raise self._broken(failure) from failure
        finally:
            connection.close()
        self._answers()
        return found

    def _answers(self) -> None:
        if self._is_away:
            self._is_away, self.is_back = False, True

    def _broken(self, failure: Exception) -> StoreError:
        self._is_away = True
        return StoreError(
            "QuestDB does not answer",
            path=self.address.shown,
            why=self.address.redacted(f"{type(failure).__name__}: {failure}"),
            next_step="start the server, or check host and port of the address",
        )

    def _refusal(self, status: int, body: bytes) -> StoreError:
        text = body.decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):  # what is no JSON of QuestDB's is shown as it is
            text = str(json.loads(text)["error"])
        text = self.address.redacted(text).strip()[:500]
        if status in (401, 403):
            return StoreError(
                "QuestDB refuses the user",
                path=self.address.shown,
                why=text or f"it answers {status}",
                next_step="check user and password of the address: questdb://user:password@host:9000?...",
            )
        if status == 429:
            return StoreError(
                "QuestDB has too many exports at once",
                path=self.address.shown,
                why=text,
                next_step="repeat later, or raise http.export.connection.limit of the server",
            )
        return StatementError(
            "QuestDB refuses a statement",
            path=self.address.shown,
            why=text or f"it answers {status}",
            next_step="look into the log of the server",
        )

    def _unwritten(self, why: str) -> StoreError:
        refused = "401" in why or "403" in why or "uthenticat" in why
        return StoreError(
            "QuestDB refuses the user" if refused else "QuestDB did not take the rows",
            path=self.address.shown,
            why=self.address.redacted(why),
            next_step="check user and password of the address"
            if refused
            else "nothing was committed; repeat once the server is well",
        )


class StatementError(StoreError):
    """A statement that the server refused."""
