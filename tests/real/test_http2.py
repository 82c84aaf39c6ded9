"""HTTP/2 from a client of another make, Python's `h2`: WebSockets (RFC 8441) to a real server of theirs."""

import os
import socket
import struct
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.sync.server import serve

from conftest import PATIENCE, Part, wait_for
from test_websocket import MEBIBYTE, echo  # noqa: F401 (a fixture)
from test_wire import pki  # noqa: F401 (a fixture)

H2C = '[[listener]]\naddress = "127.0.0.1:0"\nh2c = true\n'


@pytest.fixture
def gateway(sidelock, echo):  # noqa: F811
    return sidelock(echo.url, config=H2C + '[scopes.chat]\nallow = ["GET /chat"]\n', keys={"talker": ["chat"]})


class Client:
    """One connection."""

    def __init__(self, gateway):
        host, port = gateway.log().split(" listening address=")[2].split()[0].split(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.state.initiate_connection()
        self.events = []
        self.flush()
        self.until(h2.events.RemoteSettingsChanged)

    def flush(self):
        self.socket.sendall(self.state.data_to_send())

    def until(self, kind):
        """The next event of a kind; what came before it is passed over, but for its room in the windows."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, kind):
                    return event
            self.flush()
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            self.events = self.state.receive_data(data)

    def ask(self, *fields, end=False):
        stream = self.state.get_next_available_stream_id()
        self.state.send_headers(stream, list(fields), end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data):
        """All of it, as the windows allow; what comes meanwhile is given back."""
        back = b""
        while data:
            room = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size, len(data))
            if room:
                self.state.send_data(stream, data[:room])
                data = data[room:]
                self.flush()
            else:
                event = self.until((h2.events.WindowUpdated, h2.events.DataReceived))
                back += getattr(event, "data", b"")
        return back


def connect(client, gateway, *more):
    return client.ask(
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "crm.example"), (":path", "/chat"),
        ("sec-websocket-version", "13"), *more)


def told(client):
    return dict(client.until(h2.events.ResponseReceived).headers)


def test_a_websocket(gateway, echo):  # noqa: F811
    client = Client(gateway)
    assert client.state.remote_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
    connect(client, gateway)
    assert told(client)[":status"] == "401"
    stream = connect(client, gateway, ("x-api-key", gateway.keys["talker"]))
    answer = told(client)
    assert answer[":status"] == "200" and "sec-websocket-accept" not in answer
    for size in [5, 70_000, MEBIBYTE]:
        message = (b"0123456789" * (size // 10 + 1))[:size]
        back = client.send(stream, Frame(Opcode.BINARY, message).serialize(mask=True))
        head = {5: 2, 70_000: 10, MEBIBYTE: 10}[size]
        while len(back) < head + size:
            back += client.until(h2.events.DataReceived).data
        assert back[head:] == message
    # A second request beside the open tunnel.
    client.ask((":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/elsewhere"),
               ("x-api-key", gateway.keys["talker"]), end=True)
    assert told(client)[":status"] == "403"
    client.send(stream, Frame(Opcode.CLOSE, struct.pack("!H", 1000)).serialize(mask=True))
    while (event := client.until(h2.events.DataReceived)).stream_id != stream:
        pass
    assert event.data[:4] == b"\x88\x02\x03\xe8"
    client.until(h2.events.StreamEnded)
    client.state.end_stream(stream)
    client.flush()
    wait_for("the server's word", lambda: (1000, "") in echo.closed_with)
    seen = echo.headers[-1]
    assert (seen["Host"], seen["X-Sidelock-Key-Id"], seen.get("X-API-Key")) == ("crm.example", "talker", None)


PAGE = b"""<!doctype html><script>
const socket = new WebSocket(`wss://${location.host}/chat`);
socket.onopen = () => socket.send("from a browser");
socket.onmessage = message => message.data.startsWith("it came") || socket.send(`it came back ${message.data}`);
</script>"""


def test_a_browser_opens_one_over_the_connection_that_it_has(sidelock, pki, tmp_path):  # noqa: F811
    """The browser's own log of its network tells that it was an extended CONNECT."""

    def page(connection, request):
        if request.path == "/page":
            headers = Headers([("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
            return Response(200, "OK", headers, PAGE)

    heard = []

    def handle(socket):
        for message in socket:
            heard.append(message)
            socket.send(message)

    server = serve(handle, "127.0.0.1", 0, process_request=page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listener = '[[listener]]\naddress = "127.0.0.1:0"\ncertificate = { file = "crm.pem", key = "crm.key" }\n'
    public = '[[route]]\npath = "/**"\naccess = "public"\n'
    gateway = sidelock(f"http://127.0.0.1:{server.socket.getsockname()[1]}", config=listener + public, secrets=pki)
    address = gateway.log().split(" listening address=")[2].split()[0]
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [
        "chromium", "--headless=new", *as_root, "--disable-gpu", "--ignore-certificate-errors", "--no-proxy-server",
        "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", f"--log-net-log={tmp_path / 'net.json'}",
        f"https://{address}/page",
    ]
    browser = Part("browser", command, tmp_path)
    try:
        wait_for("the browser's word", lambda: "it came back from a browser" in heard)
        wait_for("its log", lambda: ":protocol: websocket" in (tmp_path / "net.json").read_text(errors="replace"))
    finally:
        browser.process.terminate()
        browser.process.wait(PATIENCE)
        server.shutdown()
