"""The gateway under test: its folder, its process or processes, its listening sockets, and the commands that change its files."""

import asyncio
import fcntl
import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.append(str(ROOT / "tests" / "bench"))
from common import end_on_sigterm, new_key  # noqa: E402, F401

PATIENCE = 30.0
#: What is said where an upgrade must wait for the end of the one before.
PUT_OFF = "the previous process is still ending"
TELEGRAM_SECRET = "telegrams_secret-0123456789abcdefghijklm"
HOOK_SECRET = "whsec_c29ha3NvYWtzb2Frc29ha3NvYWtzb2Frc29ha3M="
#: Seconds until the CRM must have answered.
CRM_PATIENCE = 4

CONFIGURATION = """
[server]
listen = ["127.0.0.1:{http}"]
admin = "127.0.0.1:{admin}"
threads = 2
[[listener]]
address = "127.0.0.1:{tls}"
certificate = {{ file = "cert.pem", key = "key.pem" }}
[[listener]]
address = "127.0.0.1:{h2c}"
h2c = true

[upstream]
url = "http://127.0.0.1:{crm}"
{upstream}

[keys]
file = "keys.toml"

[scopes.read]
allow = ["GET /api/messages/**"{opened}]
[scopes.write]
allow = ["POST /api/messages", "PATCH /api/tickets/*"]
[scopes.other]
allow = ["GET /api/other/**"]

[[webhook]]
name = "hook"
path = "/hooks/standard"
sender = "standard-webhooks"
secrets = ["file:hook-secret"]
[[webhook]]
name = "bot"
path = "/hooks/telegram"
sender = "telegram"
secrets = ["file:telegram-secret"]

[[route]]
name = "front"
path = "/front/**"
access = "public"

[limits]
per_key = "1000000/s"
per_address_failures = "1000000/s"

[timeouts]
upstream_response = "{patience}s"
upstream_keep_alive = "3s"
drain = "8s"
drain_accept = "{drain_accept}"
"""


class Failed(Exception):
    """The test itself cannot go on."""


def free_ports(count: int) -> list[int]:
    """Below the range of outgoing connections, so that none of those takes one meanwhile."""
    found = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 500):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise Failed("no free ports")


def listening(port: int) -> socket.socket:
    """A listening socket whose number is not one of those that the gateway gets it by."""
    first = socket.create_server(("127.0.0.1", port), backlog=1024)
    number = fcntl.fcntl(first.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    first.close()
    held = socket.socket(fileno=number)
    held.setblocking(False)  # As NonBlocking=yes of the unit has it.
    return held


async def until(what: str, probe, patience: float = PATIENCE):
    """The first true answer of `probe`."""
    deadline = time.monotonic() + patience
    while not (seen := await probe() if asyncio.iscoroutinefunction(probe) else probe()):
        if time.monotonic() > deadline:
            raise Failed(f"not within {patience:.0f} s: {what}")
        await asyncio.sleep(0.01)
    return seen


def make_certificates(folder: Path, count: int) -> list[tuple[str, str]]:
    """Certificates for `gate.example` with their keys, as PEM."""
    made = []
    for number in range(count):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", f"/CN=gate-{number}", "-addext", "subjectAltName=DNS:gate.example",
             "-keyout", folder / "new.key", "-out", folder / "new.pem"],
            check=True, capture_output=True, timeout=PATIENCE)
        made.append(((folder / "new.pem").read_text(), (folder / "new.key").read_text()))
    return made


class Crm:
    """The CRM's process and its record, which outlives it."""

    def __init__(self, folder: Path, lie: str = "") -> None:
        [self.port] = free_ports(1)
        self.record, self.lie = folder / "crm.record", lie
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        lie = ["--lie", self.lie] if self.lie else []
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, HERE / "crm.py", str(self.port), self.record, *lie,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if await asyncio.wait_for(self.process.stdout.readline(), PATIENCE) != b"ready\n":
            raise Failed("the CRM did not start")

    async def close_idle(self) -> None:
        self.process.stdin.write(b"close-idle\n")
        await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    def executions(self) -> list[tuple[str, str, str]]:
        return [tuple(line.split(" ")) for line in self.record.read_text().splitlines()]


class Gateway:
    """One process after another in one folder."""

    def __init__(self, binary: Path, folder: Path, crm: int, held: bool, upstream: str = "") -> None:
        self.binary, self.folder, self.crm = binary, folder, crm
        self.http, self.tls, self.h2c, self.admin = free_ports(4)
        self.key_file, self.config_file = folder / "keys.toml", folder / "sidelock.toml"
        self.upstream = upstream
        self.log_file = folder / "sidelock.log"
        self.child: subprocess.Popen | None = None
        self.pid = 0
        self.generation = 0
        #: What a process remembers outlives an upgrade, not a restart.
        self.memory = 0
        #: Held by the test as systemd holds those of a socket unit, so that no connection is ever refused.
        self.sockets = [listening(port) for port in (self.http, self.tls, self.h2c, self.admin)] if held else []
        self.write("hook-secret", HOOK_SECRET)
        self.write("telegram-secret", TELEGRAM_SECRET)
        self.write("sidelock.toml", self.configuration(opened=False))
        self.write("keys.toml", "")

    def configuration(self, opened: bool) -> str:
        return CONFIGURATION.format(
            http=self.http, tls=self.tls, h2c=self.h2c, admin=self.admin, crm=self.crm, patience=CRM_PATIENCE,
            opened=', "GET /api/reports/**"' if opened else "", upstream=self.upstream, drain_accept="0s")

    def write(self, name: str, text: str) -> None:
        """Saves a file as editors do: beside, then renamed over."""
        beside = self.folder / f".{name}.new"
        beside.touch(mode=0o600)
        beside.write_text(text)
        beside.rename(self.folder / name)

    async def start(self) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        command = [self.binary, "run", "--config", "sidelock.toml"]
        passed = [held.fileno() for held in self.sockets]
        if passed:
            # As systemd passes them: from 3 on, and the number of the process that they are for.
            moves = " ".join(f"{3 + at}<&{fd} {fd}<&-" for at, fd in enumerate(passed))
            command = ["bash", "-c", f'LISTEN_PID=$$ LISTEN_FDS={len(passed)} exec "$@" {moves}', "bash", *command]
        with self.log_file.open("ab") as log:
            self.child = subprocess.Popen(
                [str(word) for word in command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=plain, pass_fds=passed, start_new_session=True)
        self.pid = self.child.pid
        self.generation += 1
        self.memory += 1
        await until("readiness of the gateway", self.is_ready)

    def is_ready(self) -> bool:
        if self.child and self.child.pid == self.pid and self.child.poll() is not None:
            raise Failed(f"the gateway ended with {self.child.returncode}:\n{self.log()[-3000:]}")
        try:
            return self.ask("/readyz") != ""
        except OSError:
            return False

    def ask(self, path: str) -> str:
        """A page of the admin listener."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
            return answer.read().decode()

    def is_running(self, pid: int) -> bool:
        if self.child and self.child.pid == pid:
            return self.child.poll() is None
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    async def end(self) -> None:
        """SIGTERM, and what follows it."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        await until("end of the gateway on SIGTERM", lambda: not self.is_running(pid))
        if self.child.pid == pid and self.child.returncode != 0:
            raise Failed(f"the gateway ended with {self.child.returncode}:\n{self.log()[-3000:]}")

    async def restart(self) -> None:
        await self.end()
        await self.start()

    async def upgrade(self, by_signal: bool) -> None:
        """Another process takes over; the old one ends by itself."""
        old, said = self.pid, self.log_file.stat().st_size
        for _ in range(100):
            if by_signal:
                self.signal(signal.SIGUSR2)
                await until("the new process", lambda: self.serving_pid(old) or self.is_put_off(said))
            else:
                try:
                    await self.command("upgrade")
                except Failed as failed:
                    if PUT_OFF not in str(failed):
                        raise
            if not self.is_put_off(said):
                break
            said = self.log_file.stat().st_size
            await asyncio.sleep(0.1)
        self.pid = await until("the new process", lambda: self.serving_pid(old))
        self.generation += 1

    def is_put_off(self, since: int) -> bool:
        """An upgrade was refused, as the process before the one that runs has not quite ended."""
        with self.log_file.open("rb") as log:
            log.seek(since)
            return PUT_OFF.encode() in log.read()

    def serving_pid(self, old: int) -> int:
        """The process that runs in this folder and is not the old one."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != old:
                try:
                    here = os.readlink(entry / "cwd") == str(self.folder)
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if here and b"run" in words and os.fsencode(self.binary) in words and self.is_running(int(entry.name)):
                    return int(entry.name)
        return 0

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    async def command(self, *words: str) -> str:
        """A command of the binary's, beside the running process; its standard output."""
        process = await asyncio.create_subprocess_exec(
            self.binary, *words, "--config", "sidelock.toml", cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        if process.returncode:
            raise Failed(f"sidelock {' '.join(words)}: exit code {process.returncode}: {err.decode()[-1000:]}")
        return out.decode()

    def kill(self) -> None:
        for pid in {self.pid, self.child.pid if self.child else 0} - {0}:
            if self.is_running(pid):
                os.kill(pid, signal.SIGKILL)
        if self.child:
            self.child.wait()


def block(key_id: str, key: str, scopes: list[str], more: str = "") -> str:
    """A key as a person would write it into the file."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f'\n[[key]]\nid = "{key_id}"\ntitle = "{key_id}"\ndigest = "sha256:{digest}"\nscopes = {scopes}\n{more}\n'


def key_id_of(key: str) -> str:
    """The id within a key of Sidelock's own form."""
    return re.fullmatch(r"slk_([0-9A-Za-z]{8})_.*", key)[1]
