"""TLS towards the CRM: its certificate is verified, by the configured authority and for the configured name."""

import http.server
import ssl
import subprocess
import threading

import pytest

from conftest import PATIENCE, wait_for

SCOPES = '[scopes.read]\nallow = ["GET /**"]\n'


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def crm(folder):
    """An HTTPS server whose certificate is for 127.0.0.1, and the file with that certificate."""
    certificate, key = folder / "crm.pem", folder / "crm.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=crm", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-days", "2",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=PATIENCE,
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], certificate
    server.shutdown()
    thread.join(PATIENCE)


def test_a_verified_crm_is_reached(sidelock, crm):
    port, certificate = crm
    gateway = sidelock(
        f"https://127.0.0.1:{port}", config=SCOPES, keys={"k": ["read"]}, upstream_keys=f'ca_file = "{certificate}"'
    )
    for _ in range(3):
        answer = gateway.call("GET", "/x", "k")
        assert (answer.status_code, answer.text) == (200, "hello")


def test_a_stranger_s_certificate_is_refused(sidelock, crm):
    port, _ = crm
    gateway = sidelock(f"https://127.0.0.1:{port}", config=SCOPES, keys={"k": ["read"]})
    assert gateway.call("GET", "/x", "k").status_code == 502
    assert "certificate" in gateway.log()


def test_a_certificate_for_another_name_is_refused(sidelock, crm):
    port, certificate = crm
    gateway = sidelock(
        f"https://localhost:{port}", config=SCOPES, keys={"k": ["read"]}, upstream_keys=f'ca_file = "{certificate}"'
    )
    assert gateway.call("GET", "/x", "k").status_code == 502


def test_another_authority_is_taken_without_a_restart(sidelock, crm):
    port, certificate = crm
    stranger = "/etc/ssl/certs/ca-certificates.crt"
    gateway = sidelock(
        f"https://127.0.0.1:{port}", config=SCOPES, keys={"k": ["read"]}, upstream_keys='ca_file = "ca.pem"',
        secrets={"ca.pem": open(stranger).read()},
    )
    assert gateway.call("GET", "/x", "k").status_code == 502
    (gateway.folder / "ca.pem").write_text(certificate.read_text())
    wait_for("the new authority", lambda: gateway.call("GET", "/x", "k").status_code == 200)
