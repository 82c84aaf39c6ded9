"""What every test here shares: the gateway as a process of its own, and real parts as others beside it.

Everything listens on loopback. Nothing waits for a length of time, only for something to be true before a deadline.
"""

import hashlib
import os
import random
import re
import signal
import socket
import string
import subprocess
import time
import zlib
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATIENCE = 30.0
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


# Below the range from which Linux takes the ports of outgoing connections: none of those can take one of these meanwhile.
PORTS = iter(random.SystemRandom().sample(range(20_000, 32_000), 2_000))


def free_port():
    """A port that nobody has, for a part that cannot be given port 0 and asked for its number."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("no free port")


def wait_for(what, probe, patience=PATIENCE):
    """The first true answer of `probe`, or a failure that says what did not come. No connection yet is no answer yet."""
    deadline = time.monotonic() + patience
    seen = None
    while time.monotonic() < deadline:
        try:
            seen = probe()
        except httpx.TransportError as error:
            seen = error
        if seen and not isinstance(seen, Exception):
            return seen
        time.sleep(0.02)
    pytest.fail(f"no {what} within {patience:.0f} s; last seen: {seen!r}")


def new_key():
    """A key in Sidelock's own form: `slk_`, an id, a random part and a CRC-32, each in base62."""
    part = lambda length: "".join(random.SystemRandom().choice(BASE62) for _ in range(length))
    text = f"slk_{part(8)}_{part(43)}"
    check, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        check, digit = divmod(check, 62)
        digits = BASE62[digit] + digits
    return f"{text}_{digits}"


def write_private(path, text):
    """A file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


class Part:
    """A process that a test started, with all that it says in one file."""

    def __init__(self, name, command, folder, env=None):
        self.name = name
        self.folder = folder
        self.log_file = folder / f"{name}.log"
        # A proxy of this machine must not come between two parts on loopback.
        plain = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**plain, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
            )

    def log(self):
        return self.log_file.read_text(errors="replace")

    def fail_if_ended(self):
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} ended with {self.process.returncode}:\n{self.log()}")

    def wait_for_answer(self, url):
        """Waits until any HTTP answer comes from `url`, and fails with the log if the process ends before."""

        def probe():
            self.fail_if_ended()
            return httpx.get(url, trust_env=False)

        return wait_for(f"answer of {self.name} at {url}", probe)

    def stop(self):
        """Asks it to end, and insists if it does not. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"{self.name} did not end on SIGTERM:\n{self.log()}")


class Sidelock(Part):
    """A gateway with a configuration, a key for each title with its scopes and further lines, and secrets in files."""

    def __init__(self, folder, upstream, config="", keys=None, upstream_keys="", secrets=None, lines=None, server="", times=""):
        folder.mkdir()
        for name, text in (secrets or {}).items():
            write_private(folder / name, text)
        self.url = self.admin = None
        self.keys = {title: new_key() for title in keys or {}}
        blocks = [
            f'[[key]]\nid = "{title}"\ntitle = "{title}"\nscopes = {list(scopes)}\n'
            f'digest = "sha256:{hashlib.sha256(self.keys[title].encode()).hexdigest()}"\n{(lines or {}).get(title, "")}\n'
            for title, scopes in (keys or {}).items()
        ]
        write_private(folder / "keys.toml", "\n".join(blocks))
        (folder / "sidelock.toml").write_text(
            f'[server]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"\n{server}\n\n'
            f'[upstream]\nurl = "{upstream}"\n{upstream_keys}\n\n'
            '[keys]\nfile = "keys.toml"\n\n'
            f'[timeouts]\ndrain_accept = "0s"\n{times}\n{config}\n'
        )
        binary = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()
        super().__init__("sidelock", [binary, "run", "--config", "sidelock.toml"], folder)

    def wait_until_ready(self):
        self.url, self.admin = self.told("listening address="), self.told("readiness address=")
        wait_for("readiness", lambda: self.wait_for_answer(f"{self.admin}/readyz").is_success)

    def told(self, before):
        """The URL of a listener, from the line that names the address it got."""

        def probe():
            self.fail_if_ended()
            return re.search(rf"{before}(\S+)", self.log())

        return f"http://{wait_for(before, probe)[1]}"

    def call(self, method, path, key=None, **more):
        """One request, with the key of that title if one is named."""
        headers = dict(more.pop("headers", {}))
        if key:
            headers["X-API-Key"] = self.keys[key]
        return httpx.request(method, self.url + path, headers=headers, trust_env=False, timeout=PATIENCE, **more)

    def stop(self):
        code = super().stop()
        assert code == 0, f"exit code {code}:\n{self.log()}"
        assert "panicked" not in self.log(), self.log()
        for title, text in self.keys.items():
            assert text not in self.log(), f"the key {title} is in the log"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """A folder for the files of one test module."""
    return tmp_path_factory.mktemp(request.module.__name__)


@pytest.fixture(scope="module")
def start(folder):
    """Starts a part; it ends with the module."""
    with ExitStack() as ends:

        def start(name, command, env=None):
            part = Part(name, command, folder, env)
            ends.callback(part.stop)
            return part

        yield start


@pytest.fixture
def sidelock(tmp_path):
    """Starts a gateway; it must end well with the test."""
    numbers = count()
    with ExitStack() as ends:

        def start(upstream, **more):
            gateway = Sidelock(tmp_path / f"gateway-{next(numbers)}", upstream, **more)
            ends.callback(gateway.stop)
            gateway.wait_until_ready()
            return gateway

        yield start
