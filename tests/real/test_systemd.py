"""The units of config/systemd/ are what systemd accepts, shut in, and fit the program's own limits."""

import os
import re
import shutil
import subprocess

import httpx
import pytest

from conftest import PATIENCE, ROOT, free_port, wait_for

UNITS = ROOT / "config/systemd"
BINARY = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()
#: Tenths: systemd calls 2.0 "OK", and most services have 9.
MOST_EXPOSED = 20


@pytest.fixture
def units(tmp_path):
    for name in ("sidelock.service", "sidelock.socket"):
        text = (UNITS / name).read_text().replace("/usr/bin/sidelock", str(BINARY))
        (tmp_path / name).write_text(text)
    return tmp_path


def analyze(*words):
    command = ["systemd-analyze", *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)


def test_systemd_accepts_the_units(units):
    done = analyze("verify", units / "sidelock.service", units / "sidelock.socket")
    assert (done.returncode, done.stdout) == (0, "")
    service = units / "sidelock.service"
    service.write_text(service.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in analyze("verify", service).stdout, "the check notices"


def test_the_service_is_shut_in(units):
    offline = ("security", "--offline=true", f"--threshold={MOST_EXPOSED}")
    done = analyze(*offline, units / "sidelock.service")
    assert done.returncode == 0, done.stdout
    bare = units / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert analyze(*offline, bare).returncode != 0, "the check notices"


def test_systemd_waits_longer_than_a_drain():
    service = (UNITS / "sidelock.service").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", service, re.M)[1])
    drain = int(re.search(r'^#: drain = "(\d+)s"', (ROOT / "config/sidelock.toml").read_text(), re.M)[1])
    assert stop > drain
    assert "NonBlocking=yes" in service, "a socket that blocks is refused"


def test_both_processes_of_an_upgrade_are_told_to_end():
    service = (UNITS / "sidelock.service").read_text()
    assert re.findall(r"^KillMode=(.*)$", service, re.M) == ["control-group"], "mixed kills the old one unasked"


def test_the_sockets_are_those_of_the_configuration():
    sockets = re.findall(r"^ListenStream=(.*)$", (UNITS / "sidelock.socket").read_text(), re.M)
    config = (ROOT / "config/sidelock.toml").read_text()
    assert sockets == re.findall(r'^(?:listen = \["|admin = ")([^"]*)"', config, re.M)


def test_it_writes_only_in_the_state_directory(tmp_path):
    """As the unit has it: ProtectSystem=strict, and state_dir the only change to the shipped configuration."""
    etc, state, admin = tmp_path / "etc", tmp_path / "lib", free_port()
    etc.mkdir(0o700)
    state.mkdir(0o700)
    config = (ROOT / "config/sidelock.toml").read_text()
    config = config.replace('#: state_dir = "state"', f'state_dir = "{state}"')
    config = config.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9180", f"127.0.0.1:{admin}")
    (etc / "sidelock.toml").write_text(config)
    shutil.copy(ROOT / "config/keys.toml", etc)
    (etc / "keys.toml").chmod(0o600)
    command = [BINARY, "run", "--config", etc / "sidelock.toml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for("readiness", lambda: httpx.get(f"http://127.0.0.1:{admin}/readyz").status_code == 200)
            assert sorted(path.name for path in etc.iterdir()) == ["keys.toml", "sidelock.toml"]
            assert sorted(path.name for path in tmp_path.iterdir()) == ["etc", "lib"]
            assert (state / "access.ndjson").is_file()
        finally:
            process.kill()
