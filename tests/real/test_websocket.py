"""A real WebSocket client and a real server, with the gateway between them."""

import threading

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from conftest import PATIENCE, wait_for

MEBIBYTE = 1024 * 1024


class Echo:
    """Sends back what it gets; `close CODE REASON` makes it close. Keeps the codes that clients closed with."""

    def __init__(self):
        self.closed_with = []
        self.headers = []
        self.server = serve(self.handle, "127.0.0.1", 0, max_size=2 * MEBIBYTE)
        self.url = "http://127.0.0.1:%d" % self.server.socket.getsockname()[1]

    def handle(self, socket):
        self.headers.append(socket.request.headers)
        try:
            for message in socket:
                if isinstance(message, str) and message.startswith("close "):
                    _, code, reason = message.split(" ", 2)
                    socket.close(int(code), reason)
                socket.send(message)
        except ConnectionClosed:
            pass
        received = socket.protocol.close_rcvd
        self.closed_with.append((received.code, received.reason) if received else None)


@pytest.fixture(scope="module")
def echo():
    echo = Echo()
    thread = threading.Thread(target=echo.server.serve_forever, daemon=True)
    thread.start()
    yield echo
    echo.server.shutdown()
    thread.join(PATIENCE)


@pytest.fixture
def gateway(sidelock, echo):
    return sidelock(
        echo.url,
        config='[scopes.chat]\nallow = ["GET /chat"]\n[scopes.other]\nallow = ["GET /other"]\n',
        keys={"talker": ["chat"], "stranger": ["other"]},
    )


def open_socket(gateway, key=None):
    return connect(
        gateway.url.replace("http", "ws", 1) + "/chat",
        additional_headers={"X-API-Key": gateway.keys[key]} if key else {},
        proxy=None,
        open_timeout=PATIENCE,
        max_size=2 * MEBIBYTE,
    )


def test_messages_go_both_ways(gateway, echo):
    with open_socket(gateway, "talker") as socket:
        for message in ["hello", "grüße", b"\x00\xff", ""]:
            socket.send(message)
            assert socket.recv(PATIENCE) == message
        assert socket.ping().wait(PATIENCE)
    assert echo.headers[-1]["X-Sidelock-Key-Id"] == "talker"
    assert "X-API-Key" not in echo.headers[-1]


def test_a_big_message_arrives_whole(gateway):
    big = bytes(range(256)) * (MEBIBYTE // 256)
    with open_socket(gateway, "talker") as socket:
        socket.send(big)
        assert socket.recv(PATIENCE) == big


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("stranger", 403)])
def test_the_handshake_is_refused(gateway, echo, key, status):
    before = len(echo.headers)
    with pytest.raises(InvalidStatus) as refused:
        open_socket(gateway, key)
    assert refused.value.response.status_code == status
    assert len(echo.headers) == before


def test_the_servers_close_code_reaches_the_client(gateway):
    with open_socket(gateway, "talker") as socket:
        socket.send("close 4321 enough for today")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "enough for today")


def test_the_clients_close_code_reaches_the_server(gateway, echo):
    with open_socket(gateway, "talker") as socket:
        socket.close(3001, "lunch")
    wait_for("close code at the server", lambda: (3001, "lunch") in echo.closed_with)
