"""A proxy before an S3 server that a test lets fail: by what it is asked, it answers something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, TypeAlias

from tests.qmtl.ports import free_port


class Asked(NamedTuple):
    """One request, and the answer of the server: status, headers and body."""

    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_listing(self) -> bool:
        return "list-type=2" in self.path


# The answer that goes on instead; None closes the connection in the middle of the body.
Fault: TypeAlias = Callable[[Asked], Asked | None]


class FaultyS3:
    """`fault` is asked for each answer, `before` for each request: a status from it reaches no server."""

    def __init__(self, port: int) -> None:
        self.fault: Fault = lambda asked: asked
        self.before: Callable[[str, str], int | None] = lambda method, path: None
        self.asked = 0
        self.port = free_port()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Tests say what went wrong."""

            def _pass(self) -> None:
                proxy.asked += 1
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.close_connection = True
                status = proxy.before(self.command, self.path)
                if status is not None:
                    self._answer(Asked(self.command, self.path, status, {}, b""))
                    return
                server = HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    # As it came, its Host included, for that is signed.
                    server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        server.putheader(name, value)
                    server.endheaders(body)
                    found = server.getresponse()
                    asked = Asked(
                        self.command, self.path, found.status, dict(found.getheaders()), found.read()
                    )
                finally:
                    server.close()
                changed = proxy.fault(asked)
                self._answer(asked if changed is None else changed, cut=changed is None)

            def _answer(self, answer: Asked, *, cut: bool = False) -> None:
                left_out = {"content-length", "connection", "transfer-encoding"}
                size = len(answer.body)
                if self.command == "HEAD":
                    size = int(answer.headers.get("Content-Length", 0))
                with suppress(OSError):  # whoever asked has gone
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        if name.lower() not in left_out:
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(size))
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.wfile.write(answer.body[: size // 2] if cut else answer.body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
