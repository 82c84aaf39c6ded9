"""What both benchmarks need: a folder of files, a stub CRM, the gateway's process and a plain HTTP client.

Everything is on loopback, in a temporary folder, and ends with the `with` block that made it.
"""

import hashlib
import multiprocessing
import os
import secrets
import signal
import socket
import socketserver
import string
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

KEYS = 10_000
ANSWER = b'{"messages":"' + b"m" * 1009 + b'"}'  # 1 KiB
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
WEBHOOK_SECRET = secrets.token_hex(32)


def new_key() -> tuple[str, str]:
    """An id and a key of Sidelock's own form, made as `sidelock keys create` makes it."""
    pick = lambda count: "".join(secrets.choice(BASE62) for _ in range(count))
    key_id = pick(8)
    text = f"slk_{key_id}_{pick(43)}"
    crc, check = zlib.crc32(text.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        check = BASE62[digit] + check
    return key_id, f"{text}_{check}"


def key_block(key_id: str, key: str, more: str = "") -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return (
        f'\n[[key]]\nid = "{key_id}"\ntitle = "Integration {key_id}"\ndigest = "sha256:{digest}"\n'
        f'scopes = ["read_messages"]\ncreated = 2026-01-01T00:00:00Z\nexpires = 2100-01-01T00:00:00Z\n{more}'
    )


CONFIGURATION = """
[server]
listen = ["127.0.0.1:{port}"]
admin = "127.0.0.1:{admin}"
threads = {threads}

[upstream]
url = "http://127.0.0.1:{crm}"

[keys]
file = "keys.toml"

[scopes.read_messages]
allow = ["GET /api/messages/**", "GET /api/tickets/**", "GET /api/events", "GET /api/whoami"]
[scopes.send_messages]
allow = ["POST /api/messages"]
[scopes.manage_tickets]
allow = ["POST /api/tickets", "PATCH,DELETE /api/tickets/*"]

[[webhook]]
name = "telegram"
path = "/telegram/webhook"
sender = "telegram"
secrets = ["file:telegram-secret"]

[[webhook]]
name = "github"
path = "/github/webhook"
sender = "github"
secrets = ["file:github-secret"]

[[route]]
path = "/login/**"
access = "public"

[limits]
per_key = "1000000/s"
per_address_failures = "1000000/s"
connections_per_address = 10000

# Long, because everything is slow under valgrind.
[timeouts]
request_head = "10 min"
keep_alive = "10 min"
upstream_connect = "2 min"
upstream_response = "10 min"
upstream_keep_alive = "10 min"
drain = "20s"
drain_accept = "0s"
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


class StubCrm:
    """A keep-alive HTTP/1.1 server in a process of its own: 200 and `ANSWER`, whatever was asked."""

    def __enter__(self) -> "StubCrm":
        ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_serve_stub, args=(theirs,), daemon=True)
        self.process.start()
        if not ours.poll(10):
            raise SystemExit("the stub CRM did not start")
        self.port = ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join(10)


class _Conversation(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    reply = (
        b"HTTP/1.1 200 OK\r\nServer: stub\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
    ) + ANSWER

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            self.rfile.read(length)
            self.connection.sendall(self.reply)


def end_on_sigterm() -> None:
    """Lets a SIGTERM to the benchmark leave by its `with` blocks, so that nothing stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def in_child() -> None:
    """A helper process ends by its parent's word, not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _serve_stub(pipe: "multiprocessing.connection.Connection") -> None:
    in_child()
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Conversation) as server:
        pipe.send(server.server_address[1])
        server.serve_forever()


class Client:
    """One keep-alive connection that asks, waits for the whole answer, and gives its status."""

    def __init__(self, port: int, patience: float, source: tuple[str, int] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience, source_address=source)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def ask(self, request: bytes) -> int:
        self.socket.sendall(request)
        status_line = self.file.readline()
        if not status_line:
            raise ConnectionError("closed instead of answering")
        length = 0
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(self.file.read(length)) != length:
            raise ConnectionError("closed within an answer")
        return int(status_line.split()[1])


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as an ordinary client sends it."""
    usual = {"Host": "crm.example", "User-Agent": "bench/1.0", "Accept": "*/*"}
    if method == "POST":
        usual |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (usual | headers).items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def read_messages(key: str) -> bytes:
    return request("GET", "/api/messages?after=17", {"Authorization": f"Bearer {key}"})


class Gateway:
    """A folder with configuration and key file, and the binary at work in it, perhaps `under` some tool."""

    def __init__(self, binary: Path, crm: int, keys: str, threads: int, under: tuple[str, ...] = ()) -> None:
        self.temporary = tempfile.TemporaryDirectory(prefix="sidelock-bench-")
        self.folder = Path(self.temporary.name)
        self.port, self.admin = free_ports(2)
        self.key_file = self.folder / "keys.toml"
        self.key_file.write_text(keys)
        self.key_file.chmod(0o600)
        for sender in ("telegram", "github"):
            (self.folder / f"{sender}-secret").write_text(WEBHOOK_SECRET)
        text = CONFIGURATION.format(port=self.port, admin=self.admin, threads=threads, crm=crm)
        (self.folder / "sidelock.toml").write_text(text)
        self.log = self.folder / "log"
        command = [part.format(folder=self.folder) for part in under]
        self.command = [*command, str(binary), "--config", str(self.folder / "sidelock.toml"), "run"]

    def __enter__(self) -> "Gateway":
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)
        try:
            self._wait_until_ready(300)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.temporary.cleanup()

    def stop(self) -> None:
        """Ends the process as an init system would; what it writes at its end is written afterwards."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                print("the gateway did not end on SIGTERM and was killed", file=sys.stderr)

    def _wait_until_ready(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.admin_page("/readyz")
                # The admin side says ready when it works; on a slow machine the clients' port may open a moment later.
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the gateway did not become ready:\n" + self.log.read_text(errors="replace"))

    def admin_page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=60) as answer:
            return answer.read().decode()


def find_binary(given: str) -> Path:
    binary = Path(given).resolve()
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{given} is missing; build it with: cargo build --release")
    return binary
