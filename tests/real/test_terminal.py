"""What the commands ask people, on a real terminal."""

import os
import pty
import subprocess
import time

import pytest

from conftest import PATIENCE


def typed(command, folder, answer):
    """Runs a command on a terminal of its own, types `answer` when it asks, and returns its exit code and all that it showed."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(command, cwd=folder, stdin=end, stdout=end, stderr=end, env={**os.environ, "NO_COLOR": "1"})
    os.close(end)
    shown, asked, deadline = "", False, time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            shown += os.read(terminal, 4096).decode()
        except OSError:  # The other end is closed.
            break
        if not asked and "Type 'yes'" in shown:
            asked = True
            os.write(terminal, f"{answer}\n".encode())
    os.close(terminal)
    return process.wait(PATIENCE), shown


@pytest.fixture
def used(sidelock):
    """A stopped gateway whose key `busy` was used just now."""
    gateway = sidelock(
        "http://127.0.0.1:9", config='[scopes.read]\nallow = ["GET /**"]\n', keys={"busy": ["read"], "idle": ["read"]}
    )
    assert gateway.call("GET", "/x", key="busy").status_code == 502
    gateway.stop()
    return gateway


def test_a_busy_key_is_not_revoked_by_a_slip(used):
    revoke = [used.process.args[0], "keys", "revoke", "busy", "--reason", "test"]
    code, shown = typed(revoke, used.folder, "no")
    assert code == 1 and "was used" in shown and "nothing was changed" in shown, shown
    assert "revoked" not in (used.folder / "keys.toml").read_text()
    code, shown = typed(revoke, used.folder, "yes")
    assert code == 0 and "is revoked" in shown, shown
    assert "revoked = true" in (used.folder / "keys.toml").read_text()


def test_an_idle_key_is_revoked_without_a_question(used):
    code, shown = typed([used.process.args[0], "keys", "revoke", "idle", "--reason", "test"], used.folder, "no")
    assert code == 0 and "Type 'yes'" not in shown, shown
