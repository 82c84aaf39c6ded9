"""Others in front: nginx that keeps its connections, HAProxy that passes TLS through; and clients that speak HTTP/2 unasked."""

import re
import subprocess
import threading

import httpx
import pytest

from conftest import PATIENCE, Part, free_port
from test_wire import KEYS, SCOPES, TRUSTED, crm, curl, pki  # noqa: F401 (fixtures)


@pytest.fixture
def gateway(sidelock, crm, pki):  # noqa: F811
    """Listeners: plain, TLS behind a PROXY header, HTTP/2 without TLS."""
    listeners = (
        '[[listener]]\naddress = "127.0.0.1:0"\ncertificate = { file = "crm.pem", key = "crm.key" }\nproxy_protocol = true\n'
        '[[listener]]\naddress = "127.0.0.1:0"\nh2c = true\n'
    )
    gateway = sidelock(crm, config=listeners + TRUSTED + SCOPES + '[limits]\nper_key = "100000/s"\nper_address_failures = "100000/s"\n', keys=KEYS, secrets=pki)
    gateway.ports = [int(port) for port in re.findall(r" listening address=127.0.0.1:(\d+)", gateway.log())]
    return gateway


def test_nginx_in_front_keeps_its_connections(gateway, tmp_path):
    port = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; worker_processes 1;\nevents {{}}\n"
        f"http {{ access_log off; {''.join(f'{kind}_temp_path {tmp_path}/{kind}; ' for kind in ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'])}\n"
        f"  upstream gate {{ server 127.0.0.1:{gateway.ports[0]}; keepalive 4; }}\n"
        f"  server {{ listen 127.0.0.1:{port}; client_max_body_size 10m; client_body_buffer_size 1m;\n"
        "    location / { proxy_pass http://gate; proxy_http_version 1.1; proxy_set_header Connection '';\n"
        "      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; } } }\n"
    )
    nginx = Part("nginx", ["nginx", "-p", tmp_path, "-e", "stderr", "-c", tmp_path / "nginx.conf"], tmp_path)
    url, headers = f"http://127.0.0.1:{port}", {"X-API-Key": gateway.keys["k"], "X-Forwarded-For": "6.6.6.6"}
    answers = []

    def talk(number):
        # Another address of this machine: one that is not trusted.
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport, trust_env=False, timeout=PATIENCE) as client:
            for at in range(100):
                key = {} if at % 10 == 9 else headers
                # Whoever refuses a body that is still to come hangs up, and nginx, still writing, tells that as a 502: small ones come whole.
                body = f"{number}-{at}" * (1 + at * 40 if key else 100)
                chunks = iter([body.encode()]) if at % 3 == 0 else body.encode()
                answers.append((at, len(body), client.post(f"{url}/a/{number}/{at}", content=chunks, headers=key)))

    try:
        nginx.wait_for_answer(url)
        talkers = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        [talker.start() for talker in talkers]
        [talker.join() for talker in talkers]
        assert len(answers) == 400
        for at, size, answer in answers:
            if at % 10 == 9:
                assert answer.status_code == 401, "a refusal leaves nothing of its body to the next one"
            else:
                told = answer.json()
                assert (answer.status_code, told["bytes"], told["path"]) == (200, size, answer.url.path)
                assert told["headers"]["x-forwarded-for"] == "127.0.0.2"
    finally:
        nginx.stop()


def test_haproxy_in_front_passes_tls_through(gateway, tmp_path):
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "global\n  log stderr local0\n"
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
        f"frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n"
        f"backend b\n  server s 127.0.0.1:{gateway.ports[1]} send-proxy-v2\n"
    )
    haproxy = Part("haproxy", ["haproxy", "-db", "-f", tmp_path / "haproxy.cfg"], tmp_path)
    try:
        haproxy.wait_for_answer(f"http://127.0.0.1:{gateway.ports[0]}/")
        gateway.ports[1] = port
        for version, told in [("--http1.1", "1.1 200"), ("--http2", "2 200")]:
            more = ["--interface", "127.0.0.2", "--retry", "5", "--retry-connrefused", version]
            answer, said = curl(gateway, *more, "https://crm.example/a")
            assert said == told
            assert answer["headers"]["x-forwarded-for"] == "127.0.0.2"
            assert answer["headers"]["x-forwarded-proto"] == "https"
    finally:
        haproxy.process.terminate()
        haproxy.process.wait(PATIENCE)


def test_http_2_unasked(gateway):
    url = f"http://127.0.0.1:{gateway.ports[2]}/a?b=c"
    answer, said = curl(gateway, "--http2-prior-knowledge", url)
    assert (said, answer["path"]) == ("2 200", "/a?b=c")
    # One that only offers it in an Upgrade goes on in HTTP/1.1.
    assert curl(gateway, "--http2", url)[1] == "1.1 200"
    assert curl(gateway, "--http1.1", url)[1] == "1.1 200"
    command = ["h2load", "-n", "4000", "-c", "8", "-m", "20", "-t", "1", "-H", f"X-API-Key: {gateway.keys['k']}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout, done.stdout + done.stderr
    done = subprocess.run(["nghttp", "-nv", "-H", f"X-API-Key: {gateway.keys['k']}", url], capture_output=True, text=True, timeout=PATIENCE)
    assert ":status: 200" in done.stdout and "SETTINGS_ENABLE_CONNECT_PROTOCOL(0x08):1" in done.stdout, done.stdout
