"""A real Prometheus scrapes the admin listener, and promtool has nothing to say about the metrics."""

import shutil
import subprocess
import sys

import httpx
import pytest

from conftest import PATIENCE, free_port, wait_for


@pytest.fixture
def gateway(sidelock, start):
    port = free_port()
    upstream = start(f"files-{port}", [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)])
    upstream.wait_for_answer(f"http://127.0.0.1:{port}/")
    gateway = sidelock(
        f"http://127.0.0.1:{port}",
        config='[scopes.read]\nallow = ["GET /"]\n',
        keys={"reader": ["read"]},
    )
    for _ in range(3):
        assert gateway.call("GET", "/", "reader").status_code == 200
    assert gateway.call("GET", "/elsewhere", "reader").status_code == 403
    assert gateway.call("GET", "/").status_code == 401
    return gateway


@pytest.fixture
def prometheus(start, gateway, folder):
    (folder / "prometheus.yml").write_text(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
        "scrape_configs:\n  - job_name: sidelock\n    static_configs:\n"
        f"      - targets: [{gateway.admin.removeprefix('http://')}]\n"
    )
    port = free_port()
    server = start(
        "prometheus",
        [
            shutil.which("prometheus"),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    )
    url = f"http://127.0.0.1:{port}"
    wait_for("readiness of Prometheus", lambda: server.wait_for_answer(f"{url}/-/ready").is_success)

    def ask(query):
        """The values that a query finds, by nothing but their order."""
        answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False, timeout=PATIENCE)
        return [float(series["value"][1]) for series in answer.raise_for_status().json()["data"]["result"]]

    return ask


def test_requests_of_a_key_can_be_asked_for(prometheus):
    of_key = 'sum(sidelock_requests_total{key="reader"})'
    assert wait_for("figure for the key", lambda: prometheus(of_key)) == [4]
    by_nobody = 'sum(sidelock_requests_total) - sum(sidelock_requests_total{key="reader"})'
    assert prometheus(by_nobody) == [1]
    assert prometheus('up{job="sidelock"}') == [1]


def test_promtool_finds_nothing_wrong(gateway):
    scrape = httpx.get(f"{gateway.admin}/metrics", trust_env=False).raise_for_status().text
    assert 'key="reader"' in scrape
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (checked.returncode, checked.stderr.strip()) == (0, "")
