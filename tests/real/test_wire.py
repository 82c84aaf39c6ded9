"""The wire as others speak it: curl, OpenSSL and h2load over TLS and HTTP/2, HAProxy in front, a CRM that wants a certificate."""

import http.server
import json
import re
import ssl
import subprocess
import threading

import httpx
import pytest

from conftest import PATIENCE, Part, free_port, wait_for

SCOPES = '[scopes.read]\nallow = ["GET /**"]\n[scopes.write]\nallow = ["POST /**"]\n'
KEYS = {"k": ["read", "write"]}
TRUSTED = '[client_address]\ntrusted_proxies = ["127.0.0.1"]\n'


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def pki(folder):
    """Two authorities, a server's certificate for `crm.example` and a client's for `partner.example`, as PEM texts by name."""
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl(*new, "-x509", "-subj", "/CN=ca", "-addext", "basicConstraints=critical,CA:TRUE",
            "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    for name, usage, names in [("crm", "serverAuth", "DNS:crm.example,IP:127.0.0.1"), ("partner", "clientAuth", "DNS:partner.example")]:
        (folder / "extensions").write_text(
            f"basicConstraints=critical,CA:FALSE\nextendedKeyUsage={usage}\nsubjectAltName={names}\n")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", folder / "extensions", "-out", folder / f"{name}.pem")
    return {path.name: path.read_text() for path in folder.iterdir() if path.suffix in (".pem", ".key")}


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it got, as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.body()
        told = {"headers": {name.lower(): value for name, value in self.headers.items()}, "bytes": len(body), "path": self.path}
        told = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_POST = do_GET

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        pass


class Crm(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def serve(wrap=None):
    server = Crm(("127.0.0.1", 0), Echo)
    if wrap:
        server.socket = wrap.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def crm():
    server = serve()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture
def gateway(sidelock, crm, pki):
    """Listeners: plain, TLS with client certificates, one behind a proxy, and a socket file."""
    listeners = (
        '[[listener]]\naddress = "127.0.0.1:0"\ncertificate = { file = "crm.pem", key = "crm.key" }\nclient_ca = "ca.pem"\n'
        '[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = true\n'
        '[[listener]]\nunix = "door.sock"\n'
    )
    gateway = sidelock(crm, config=listeners + TRUSTED + SCOPES + '[limits]\nper_key = "100000/s"\n', keys=KEYS, secrets=pki)
    gateway.ports = [int(port) for port in re.findall(r" listening address=127.0.0.1:(\d+)", gateway.log())]
    return gateway


def curl(gateway, *arguments):
    """curl's answer, as JSON, and the version of HTTP and the status that it tells."""
    command = [
        "curl", "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", gateway.folder / "ca.pem",
        "--connect-to", f"crm.example:443:127.0.0.1:{gateway.ports[1]}", "-H", f"X-API-Key: {gateway.keys['k']}",
        "-w", "\n%{http_version} %{http_code}", *arguments,
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    body, _, told = done.stdout.rpartition("\n")
    return json.loads(body), told


@pytest.mark.parametrize("version, told", [("--http1.1", "1.1 200"), ("--http2", "2 200")])
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_curl(gateway, version, told, tls):
    answer, said = curl(gateway, version, "--tls-max", tls, f"--tlsv{tls}", "https://crm.example/a?b=c")
    assert said == told
    assert answer["path"] == "/a?b=c"
    assert answer["headers"]["host"] == "crm.example"
    assert answer["headers"]["x-forwarded-proto"] == "https"
    assert answer["headers"]["x-sidelock-key-id"] == "k"


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("more", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]])
def test_curl_uploads(gateway, version, more, tmp_path):
    if version == "--http2":
        more = [word.replace("Transfer-Encoding: chunked", "Content-Length:") for word in more]
    (tmp_path / "body").write_bytes(b"x" * 3_000_000)
    answer, said = curl(gateway, version, *more, "--data-binary", f"@{tmp_path / 'body'}", "https://crm.example/a")
    assert (answer["bytes"], said[-3:]) == (3_000_000, "200")


def test_curl_with_a_certificate_and_by_a_socket_file(gateway):
    pair = ["--cert", gateway.folder / "partner.pem", "--key", gateway.folder / "partner.key"]
    _, said = curl(gateway, *pair, "https://crm.example/a")
    assert said == "2 200"
    answer, said = curl(gateway, "--unix-socket", gateway.folder / "door.sock", "http://crm.example/a")
    assert said == "1.1 200"
    assert answer["headers"]["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("old", [["-tls1_1"], ["-tls1"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], ["-tls1_2", "-cipher", "aNULL:eNULL"]])
def test_what_is_old_or_weak_is_not_spoken(gateway, old):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.ports[1]}", *old]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0
    assert "Cipher is (NONE)" in done.stdout or "no cipher" in done.stderr.lower(), done.stdout + done.stderr


def test_h2load(gateway):
    command = [
        "h2load", "-n", "3000", "-c", "6", "-m", "50", "-t", "1", "-H", f"X-API-Key: {gateway.keys['k']}",
        f"https://127.0.0.1:{gateway.ports[1]}/a",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_in_front(gateway, version, tmp_path):
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "global\n  log stderr local0\n"
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
        f"frontend f\n  bind 127.0.0.1:{port}\n  unique-id-format %pid\n  default_backend b\n"
        f"backend b\n  server s 127.0.0.1:{gateway.ports[2]} check inter 100ms {version}\n"
    )
    haproxy = Part("haproxy", ["haproxy", "-db", "-f", tmp_path / "haproxy.cfg"], tmp_path)
    try:
        haproxy.wait_for_answer(f"http://127.0.0.1:{port}/")
        # Another address of this machine: one that is not trusted.
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport, trust_env=False) as client:
            headers = {"X-API-Key": gateway.keys["k"], "X-Forwarded-For": "6.6.6.6"}
            answer = client.get(f"http://127.0.0.1:{port}/a", headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["headers"]["x-forwarded-for"] == "127.0.0.2"
        wait_for("a health check", lambda: "is DOWN" not in haproxy.log())
    finally:
        haproxy.process.terminate()
        haproxy.process.wait(PATIENCE)


def test_a_crm_that_wants_a_certificate_and_names_of_its_own(sidelock, pki, folder):
    names = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crm.pem", folder / "crm.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = serve(context)
    url = f"https://localhost:{server.server_address[1]}"
    try:
        with_all = (
            'ca_file = "ca.pem"\nserver_name = "crm.example"\nhost = "tenant.crm.example"\n'
            'client_certificate = "partner.pem"\nclient_key = "partner.key"\n'
        )
        gateway = sidelock(url, config=SCOPES, keys=KEYS, upstream_keys=with_all, secrets=pki)
        answer = gateway.call("GET", "/a", "k")
        assert answer.status_code == 200, gateway.log()
        assert answer.json()["headers"]["host"] == "tenant.crm.example"
        assert names == ["crm.example"]
        without = with_all.split("client_certificate")[0]
        gateway = sidelock(url, config=SCOPES, keys=KEYS, upstream_keys=without, secrets=pki)
        assert gateway.call("GET", "/a", "k").status_code == 502
    finally:
        server.shutdown()
