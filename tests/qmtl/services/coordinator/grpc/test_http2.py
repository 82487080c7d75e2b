"""Held against `h2`: each understands the other, however the bytes between them are cut."""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from qmtl.services.coordinator.grpc.http2 import (
    Answer,
    ClientConnection,
    GivenUpError,
    NotHTTP2Error,
    request_headers,
)
from tests.qmtl.services.coordinator.grpc_server import HEADERS, ServerSide, framed

HEAD = request_headers("http", "etcd:2379", "/etcdserverpb.KV/Txn")

sizes = st.sampled_from([0, 1, 100, 2**14 - 5, 2**14, 70_000, 200_000])
words = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip)


def exchanged(client: ClientConnection, server: ServerSide, piece: int = 2**16) -> list[tuple[int, Answer]]:
    """Let both speak until neither has more to say; each call is answered with its own bytes backwards."""
    answers = []
    while True:
        up = client.taken()
        for place in range(0, len(up), piece):
            for stream, _, body in server.receive(up[place : place + piece]):
                server.answer(stream, body[5:][::-1])
        down = server.h2.data_to_send()
        if not up and not down:
            return answers
        for place in range(0, len(down), piece):
            answer = client.receive(down[place : place + piece])
            if answer is not None:
                answers.append(answer)


@given(
    messages=st.lists(sizes, min_size=1, max_size=3),
    window=st.sampled_from([None, 0, 1_000, 2**20]),
    piece=st.sampled_from([1, 9, 10, 1_000, 2**16]),
)
def test_messages_of_any_size_through_any_window(messages: list[int], window: int | None, piece: int) -> None:
    client, server = ClientConnection(), ServerSide()
    if window is not None:
        server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
    if window == 0:
        assert exchanged(client, server) == []
    for size in messages:
        message = bytes(number % 251 for number in range(size))
        client.ask(HEAD, message)
        answers = exchanged(client, server, piece if size < 1_000 else 2**16)
        if window == 0:  # the server takes nothing until it says more
            assert answers == []
            server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**20})
            window = None
            answers = exchanged(client, server)
        assert answers == [Answer(0, "", message[::-1])]


def test_what_is_sent() -> None:
    client, server = ClientConnection(), ServerSide()
    client.ask(HEAD, b"hello")
    ((stream, headers, body),) = server.receive(client.taken())
    assert stream == 1
    assert body == framed(b"hello")
    assert headers == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/etcdserverpb.KV/Txn",
        ":authority": "etcd:2379",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    assert server.h2.remote_settings.enable_push == 0
    assert server.h2.remote_settings.header_table_size == 0


@given(status=st.integers(min_value=1, max_value=16), why=words)
def test_a_refusal(status: int, why: str) -> None:
    for has_headers in (True, False):
        client, server = ClientConnection(), ServerSide()
        client.ask(HEAD, b"")
        ((stream, _, _),) = server.receive(client.taken())
        fields = [("grpc-status", str(status)), ("grpc-message", why.replace("%", "%25"))]
        if has_headers:
            server.h2.send_headers(stream, HEADERS)
            server.h2.send_headers(stream, fields, end_stream=True)
        else:
            server.h2.send_headers(stream, HEADERS + fields, end_stream=True)
        assert client.receive(server.h2.data_to_send()) == Answer(status, why, b"")
        client.ask(HEAD, b"again")
        assert exchanged(client, server) == [Answer(0, "", b"niaga")]


def test_words_beyond_ascii() -> None:
    client, server = asked()
    server.h2.send_headers(
        1, [*HEADERS, ("grpc-status", "2"), ("grpc-message", "%C3%A4 100%25")], end_stream=True
    )
    assert client.receive(server.h2.data_to_send()) == Answer(2, "ä 100%", b"")


def test_a_request_that_is_refused_before_all_of_it_was_taken() -> None:
    client, server = ClientConnection(), ServerSide()
    client.ask(HEAD, bytes(100_000))
    server.receive(client.taken()[:30_000])
    server.h2.send_headers(1, [*HEADERS, ("grpc-status", "8")], end_stream=True)
    server.h2.reset_stream(1, 0)
    assert client.receive(server.h2.data_to_send()) == Answer(8, "", b"")
    assert not client.takes_more  # the stream was left half open


def test_padding_is_no_part_of_an_answer() -> None:
    client, server = asked()
    server.h2.send_headers(1, HEADERS)
    server.h2.send_data(1, framed(b"x"), pad_length=7)
    server.h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
    assert client.receive(server.h2.data_to_send()) == Answer(0, "", b"x")


def test_pings_and_settings_are_answered() -> None:
    client, server = asked()
    server.h2.ping(b"while it")
    server.h2.ping(b"is asked")
    client.receive(server.h2.data_to_send())
    assert said(server, client) == ["SettingsAcknowledged", "PingAckReceived", "PingAckReceived"]
    server.h2.ping(b"and more")
    server.answer(1, b"")
    client.receive(server.h2.data_to_send())
    assert said(server, client) == [], "it goes with what is sent next"
    client.ask(HEAD, b"")
    assert "PingAckReceived" in said(server, client)
    server.answer(3, b"")
    client.receive(server.h2.data_to_send())
    server.h2.ping(b"is idle?")
    client.receive(server.h2.data_to_send())
    assert said(server, client) == ["PingAckReceived"], "who asks an idle one wants to know whether it lives"


def said(server: ServerSide, client: ClientConnection) -> list[str]:
    return [type(event).__name__ for event in server.h2.receive_data(client.taken())]


def test_room_for_answers_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """h2 sends nothing that it has no room for."""
    monkeypatch.setattr("qmtl.services.coordinator.grpc.http2._ROOM", 50_000)
    client, server = ClientConnection(), ServerSide()
    before = 0
    for _ in range(5):
        client.ask(HEAD, bytes(60_000))
        assert len(exchanged(client, server)) == 1
        room = server.h2.outbound_flow_control_window
        assert room >= before - 50_000
        before = before or room


def test_one_that_leaves_answers_what_it_has_taken() -> None:
    client, server = asked()
    server.answer(1, b"last")
    server.h2.close_connection(last_stream_id=1)
    assert client.takes_more
    assert client.receive(server.h2.data_to_send()) == Answer(0, "", b"last")
    assert not client.takes_more


def test_one_that_leaves_has_not_taken_the_rest() -> None:
    client, server = asked()
    server.h2.close_connection(last_stream_id=0)
    with pytest.raises(GivenUpError, match="no more requests"):
        client.receive(server.h2.data_to_send())


def test_a_call_that_is_given_up() -> None:
    client, server = asked()
    server.h2.reset_stream(1, 11)
    with pytest.raises(GivenUpError, match="code 11"):
        client.receive(server.h2.data_to_send())


def test_an_answer_without_a_status() -> None:
    client, server = asked()
    server.h2.send_headers(1, HEADERS)
    server.h2.send_data(1, framed(b"x"), end_stream=True)
    with pytest.raises(GivenUpError, match="without a status"):
        client.receive(server.h2.data_to_send())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([(":status", "404")], "HTTP 404"),
        ([(":status", "200"), ("content-type", "text/html")], "without a status of gRPC"),
        ([*HEADERS, ("grpc-status", "none")], "without a status of gRPC"),
    ],
)
def test_answers_that_are_not_grpc(fields: list[tuple[str, str]], why: str) -> None:
    client, server = asked()
    server.h2.send_headers(1, fields, end_stream=True)
    with pytest.raises(NotHTTP2Error, match=why):
        client.receive(server.h2.data_to_send())


@pytest.mark.parametrize("body", [b"\1\0\0\0\1x", b"\0\0\0\0\2x", b"\0"], ids=["packed", "half", "less"])
def test_a_message_that_is_compressed_or_cut(body: bytes) -> None:
    client, server = asked()
    server.h2.send_headers(1, HEADERS)
    server.h2.send_data(1, body)
    server.h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
    with pytest.raises(NotHTTP2Error, match="compressed, or not whole"):
        client.receive(server.h2.data_to_send())


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        bytes(9),  # a frame of data, before any settings
        bytes.fromhex("000000040000000000") + bytes.fromhex("ffffff000000000001"),
        bytes.fromhex("000000040000000000") + bytes.fromhex("000001050400000001") + b"x",
        bytes.fromhex("000000040000000000") + bytes.fromhex("000001010400000001") + b"\xff",
        bytes.fromhex("000000040000000000") + bytes.fromhex("000001010000000001") + b"\x88",
    ],
    ids=["HTTP/1", "SSH", "no greeting", "too long", "a push", "no headers", "continued headers"],
)
def test_another_protocol(said: bytes) -> None:
    client, _ = asked()
    with pytest.raises(NotHTTP2Error):
        client.receive(said)


@given(st.binary(max_size=60))
def test_any_bytes_are_waited_for_or_refused(noise: bytes) -> None:
    client, _ = asked()
    try:
        assert client.receive(bytes.fromhex("000000040000000000") + noise) is None
    except (NotHTTP2Error, GivenUpError):
        return


@given(st.binary(max_size=60))
def test_any_headers_are_read_or_refused(noise: bytes) -> None:
    client, _ = asked()
    frame = len(noise).to_bytes(3, "big") + bytes.fromhex("010500000001") + noise
    try:
        client.receive(bytes.fromhex("000000040000000000") + frame)
    except NotHTTP2Error:
        return


def test_streams_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qmtl.services.coordinator.grpc.http2._LAST_STREAM", 3)
    client, server = ClientConnection(), ServerSide()
    for _ in range(2):
        assert client.takes_more
        client.ask(HEAD, b"")
        assert len(exchanged(client, server)) == 1
    assert not client.takes_more


def asked() -> tuple[ClientConnection, ServerSide]:
    client, server = ClientConnection(), ServerSide()
    client.ask(HEAD, b"hello")
    server.receive(client.taken())
    return client, server
