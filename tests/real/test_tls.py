"""TLS as OpenSSL's client meets it: what is offered and what is not, resumption, names, renegotiation, certificates that have ended."""

import os
import re
import subprocess

import pytest

from conftest import PATIENCE, wait_for
from test_wire import KEYS, SCOPES, crm, openssl, pki  # noqa: F401 (fixtures)

LISTENER = '[[listener]]\naddress = "127.0.0.1:0"\ncertificate = { file = "crm.pem", key = "crm.key" }\n'
WANTED = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}


@pytest.fixture
def gateway(sidelock, crm, pki):  # noqa: F811
    """Listeners: plain, TLS, TLS with client certificates."""
    listeners = LISTENER + LISTENER + 'client_ca = "ca.pem"\n'
    gateway = sidelock(crm, config=listeners + SCOPES, keys=KEYS, secrets=pki)
    gateway.ports = [int(port) for port in re.findall(r" listening address=127.0.0.1:(\d+)", gateway.log())]
    return gateway


def s_client(gateway, *more, port=1, said="Q\n", name=("-servername", "crm.example")):
    """All that OpenSSL's client says of one connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.ports[port]}", *name, *more]
    done = subprocess.run([str(word) for word in command], input=said, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr


def test_only_these_suites(gateway):
    listed = subprocess.run(["openssl", "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
                            capture_output=True, text=True, check=True).stdout
    suites = {name for name in listed.strip().split(":") if not name.startswith("TLS_")}
    assert suites > WANTED
    taken = {name for name in suites if f"Cipher    : {name}" in s_client(gateway, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")}
    assert taken == WANTED
    for version in ["-tls1", "-tls1_1"]:
        assert "Cipher is (NONE)" in s_client(gateway, version, "-cipher", "ALL:@SECLEVEL=0")


def test_no_compression_and_no_renegotiation(gateway):
    said = s_client(gateway, "-tls1_2", "-comp")
    assert "Compression: NONE" in said and "Secure Renegotiation IS supported" in said
    # Whoever asks for it in the middle of a connection has none any more.
    said = s_client(gateway, "-tls1_2", said="R\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "RENEGOTIATING" in said and "HTTP/1.1" not in said.split("RENEGOTIATING")[1], said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_resumption(gateway, version, tmp_path):
    """A session is resumed, but for one that showed a certificate, and one from before the certificate was changed."""
    ask = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    kept = ["-sess_out", tmp_path / "session", "-ign_eof"]
    again = ["-sess_in", tmp_path / "session"]
    assert "New, " in s_client(gateway, version, *kept, said=ask)
    assert "Reused, " in s_client(gateway, version, *again)
    pair = ["-cert", gateway.folder / "partner.pem", "-key", gateway.folder / "partner.key"]
    assert "New, " in s_client(gateway, version, *pair, "-sess_out", tmp_path / "other", "-ign_eof", port=2, said=ask)
    if (tmp_path / "other").exists():
        assert "Reused, " not in s_client(gateway, version, *pair, "-sess_in", tmp_path / "other", port=2)
    before = fingerprint(s_client(gateway))
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl(*new, "-subj", "/CN=new", "-addext", "subjectAltName=DNS:crm.example",
            "-keyout", tmp_path / "crm.key", "-out", tmp_path / "crm.pem")
    for name in ["crm.pem", "crm.key"]:
        os.chmod(tmp_path / name, 0o600)
        os.replace(tmp_path / name, gateway.folder / name)
    wait_for("the new certificate", lambda: fingerprint(s_client(gateway)) != before)
    assert "Reused, " not in s_client(gateway, version, *again)


def fingerprint(said):
    certificate = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    return certificate and certificate[0]


def test_names_and_protocols(gateway):
    known = fingerprint(s_client(gateway))
    for name in [("-servername", "unknown.example"), ("-servername", "CRM.EXAMPLE"), ("-noservername",)]:
        assert fingerprint(s_client(gateway, name=name)) == known
    for wanted, chosen in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1"), ("foo,http/1.1", "http/1.1")]:
        assert f"ALPN protocol: {chosen}\n" in s_client(gateway, "-alpn", wanted)
    assert "No ALPN negotiated" in s_client(gateway)
    # A client that speaks only what is not spoken here must not be answered in another tongue (RFC 7301).
    assert "no application protocol" in s_client(gateway, "-alpn", "foo")


def test_a_client_certificate_that_has_ended(gateway, pki, folder):  # noqa: F811
    openssl("x509", "-req", "-in", folder / "partner.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial",
            "-days", "0", "-extfile", folder / "extensions", "-out", folder / "ended.pem")
    ask = f"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-API-Key: {gateway.keys['k']}\r\n\r\n"
    pair = ["-key", gateway.folder / "partner.key", "-ign_eof"]
    said = s_client(gateway, "-cert", gateway.folder / "partner.pem", *pair, port=2, said=ask)
    assert "HTTP/1.1 200" in said, said
    # It ends with the second in which it was made.
    ended = ["-tls1_2", "-cert", folder / "ended.pem", *pair]
    said = wait_for("its end", lambda: refusal(s_client(gateway, *ended, port=2, said=ask)))
    assert "certificate expired" in said, said

    binary = gateway.process.args[0]
    check = [binary, "check", "--strict", "--config", gateway.folder / "sidelock.toml"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 3 and re.search(r"crm.pem.*\n?.*the certificate ends at 20", done.stderr), done.stderr


def refusal(said):
    return None if "HTTP/1.1" in said else said
