"""Loads for peers.py and scale.py: wrk for as much as goes, an open loop at a fixed rate, and connections that idle."""

import gc
import json
import math
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from proxies import LOAD_CORE, TEMPLATES, Process

IDLE_CONNECTIONS = 10_000
# So many from one address, which stays below the bound that Sidelock has for each.
PER_ADDRESS = 500


def wrk(proxy: Process, keys: Path, seconds: float, path: str = "/api/messages", method: str = "GET", body: int = 0,
        closing: bool = False, connections: int = 64) -> dict[str, float]:
    """As many requests as go through, and what they cost the proxy: `us` of CPU each
    (`user_us` of it in user mode), `rate` a second, and how they ended."""
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s",
               str(TEMPLATES / "load.lua"), f"http://127.0.0.1:{proxy.port}{path}", "--", str(keys), method, str(body),
               "close" if closing else "keep"]
    before = proxy.user_and_system()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    user, system = (then - earlier for then, earlier in zip(proxy.user_and_system(), before))
    spent = user + system
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"wrk failed: {done.stderr or done.stdout}")
    told = json.loads(lines[-1])
    requests = max(1, told["requests"])
    return {"us": spent / requests * 1e6, "user_us": user / requests * 1e6, "rate": requests / told["seconds"], "core": spent / told["seconds"],
            "requests": requests, "refused": told["refused"], "broken": told["broken"]}


def at_fixed_rate(port: int, keys: Path, rate: int, seconds: float) -> dict[str, float]:
    """Milliseconds from when a request was due to its whole answer: p50, p99, p99.9. In a process on the load's core."""
    done = subprocess.run(
        ["taskset", "-c", LOAD_CORE, sys.executable, __file__, str(port), str(keys), str(rate), str(seconds)],
        capture_output=True, text=True, timeout=seconds * 4 + 30)
    if done.returncode:
        raise SystemExit(f"the open loop failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def percentile(values: list[float], share: float) -> float:
    values = sorted(values)
    return values[max(0, math.ceil(share * len(values)) - 1)]


class _Line:
    """One connection of the open loop; `due` is when its request should have been sent, or None if it is free."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due: float | None = None
        self.missing = 0
        self.head = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def read(self) -> bool:
        """Takes what came; whether the answer is whole."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("closed within the run")
        if self.missing:
            self.missing -= len(part)
            return self.missing == 0
        self.head += part
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self.head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"refused: {self.head[:60]!r}")
        lower = self.head[:end].lower()
        at = lower.index(b"content-length:") + 15
        length = int(lower[at:].split(b"\r", 1)[0])
        self.missing = length - (len(self.head) - end - 4)
        self.head = b""
        return self.missing == 0


def _open_loop(port: int, keys: list[str], rate: int, seconds: float) -> dict[str, float]:
    gc.disable()
    requests = [
        f"GET /api/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n".encode()
        for key in keys]
    free = deque(_Line(port) for _ in range(64))
    busy: set[_Line] = set()
    waiting: deque[float] = deque()
    took: list[float] = []
    total, planned = int(rate * seconds), 0
    late = 0.0
    begin = time.perf_counter() + 0.2
    deadline = begin + seconds * 3 + 5
    while len(took) < total:
        now = time.perf_counter()
        if now > deadline:
            break
        while planned < total and begin + planned / rate <= now:
            waiting.append(begin + planned / rate)
            planned += 1
        while waiting and free:
            line = free.popleft()
            line.due = waiting.popleft()
            line.socket.sendall(requests[len(took) % len(requests)])
            late = max(late, time.perf_counter() - line.due)
            busy.add(line)
        pause = max(0.0, begin + planned / rate - time.perf_counter()) if planned < total else 0.05
        if not busy:
            time.sleep(pause)
            continue
        ready, _, _ = select.select(list(busy), [], [], pause)
        for line in ready:
            if line.read():
                took.append((time.perf_counter() - line.due) * 1000)
                busy.discard(line)
                free.append(line)
    answered = len(took)
    # What was not answered in time counts as the longest that was waited.
    took += [(time.perf_counter() - begin - seconds) * 1000] * (total - answered)
    return {"p50": percentile(took, .5), "p99": percentile(took, .99), "p999": percentile(took, .999), "max": max(took),
            "answered": answered / total}


def idle(proxy: Process, key: str) -> dict[str, float]:
    """Resident bytes per connection with 10,000 that have asked once, and what stays after they closed."""
    request = f"GET /api/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    def ask(connection: socket.socket) -> None:
        connection.sendall(request)
        got = b""
        while b"\r\n\r\n" not in got or len(got) < 1024 + got.index(b"\r\n\r\n") + 4:
            part = connection.recv(65536)
            if not part:
                raise SystemExit(f"{type(proxy).__name__} closed a connection that should idle")
            got += part
        if not got.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{type(proxy).__name__} answered {got[:60]!r}")

    # Some requests first, so that what every process fetches once is not counted.
    with socket.create_connection(("127.0.0.1", proxy.port)) as first:
        for _ in range(500):
            ask(first)
    before = proxy.resident()
    held = []
    try:
        for number in range(IDLE_CONNECTIONS - 1):
            source = (f"127.0.1.{1 + number // PER_ADDRESS}", 0)
            held.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=30, source_address=source))
            ask(held[-1])
        # Idle, not just between two requests: every gateway gets the time to notice.
        time.sleep(5)
        within = proxy.resident()
    finally:
        for connection in held:
            connection.close()
    # Allocators give memory back some time after, and some of them only when something is asked of them.
    for _ in range(3):
        time.sleep(1.5)
        with socket.create_connection(("127.0.0.1", proxy.port)) as last:
            for _ in range(500):
                ask(last)
    after = proxy.resident()
    # What was made ready before may have been given back meanwhile; then the end is what they are compared with.
    least = min(before, after)
    return {"before": before, "with": within, "after": after, "each": (within - least) / len(held),
            "kept": (after - least) / max(1, within - least)}


if __name__ == "__main__":
    _port, _keys, _rate, _seconds = sys.argv[1:]
    json.dump(_open_loop(int(_port), Path(_keys).read_text().split(), int(_rate), float(_seconds)), sys.stdout)
