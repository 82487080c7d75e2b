"""Messages come whole, or not at all."""

from __future__ import annotations

from io import BytesIO

import pytest

from qmtl.runtime.sdk.isolation.pipe import receive, send


def test_messages_come_whole_and_in_order() -> None:
    pipe = BytesIO()
    for message in (b"one", b"", b"x" * 100_000):
        send(pipe, message)
    pipe.seek(0)
    assert [receive(pipe) for _ in range(3)] == [b"one", b"", b"x" * 100_000]
    with pytest.raises(EOFError):
        receive(pipe)


def test_a_message_that_is_cut_is_none() -> None:
    pipe = BytesIO()
    send(pipe, b"a whole message")
    for length in (3, 12):
        with pytest.raises(EOFError, match="gone"):
            receive(BytesIO(pipe.getvalue()[:length]))
