"""The units of config/systemd/ are what systemd accepts, shut in, and fit the program's own limits."""

import os
import re
import subprocess

import pytest

from conftest import PATIENCE, ROOT

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
