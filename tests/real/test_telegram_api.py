"""The commands speak to the Bot API over TLS: its certificate is verified before the bot token is on the wire."""

import http.server
import json
import os
import ssl
import subprocess
import threading

import pytest

from conftest import PATIENCE, ROOT, write_private

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
SECRET = "telegrams_secret-0123456789abcdefghijklm"


class BotApi(http.server.BaseHTTPRequestHandler):
    """One bot, whose webhook is kept."""

    url = ""
    paths = []

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.paths.append(self.path)
        result = True
        if self.path == f"/bot{TOKEN}/setWebhook":
            type(self).url = call["url"]
        else:
            result = {"url": self.url, "has_custom_certificate": False, "pending_update_count": 0}
        body = json.dumps({"ok": True, "result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def bot_api(folder):
    """An HTTPS server whose certificate is for 127.0.0.1, and the file with that certificate."""
    certificate, key = folder / "api.pem", folder / "api.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-days", "2", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=PATIENCE,
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), BotApi)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1], certificate
    server.shutdown()
    thread.join(PATIENCE)


@pytest.fixture
def telegram(tmp_path, bot_api):
    """Runs `sidelock telegram VERB`; the bot token is never in what it says."""
    port, certificate = bot_api
    write_private(tmp_path / "keys.toml", "")
    write_private(tmp_path / "token", TOKEN)
    write_private(tmp_path / "hook", SECRET)
    (tmp_path / "sidelock.toml").write_text(
        '[server]\nlisten = ["127.0.0.1:0"]\n[upstream]\nurl = "http://127.0.0.1:1"\n[keys]\nfile = "keys.toml"\n'
        '[[webhook]]\nname = "bot"\npath = "/bot"\nsender = "telegram"\nsecrets = ["file:hook"]\n'
        '[webhook.telegram]\nbot_token = "file:token"\npublic_url = "https://localhost"\n'
        f'api = "https://127.0.0.1:{port}"\n'
    )
    binary = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()

    def run(verb, trusted=True):
        done = subprocess.run(
            [binary, "telegram", verb],
            cwd=tmp_path,
            env={**os.environ, **({"SSL_CERT_FILE": str(certificate)} if trusted else {})},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert TOKEN not in done.stdout + done.stderr
        return done

    return run


def test_a_verified_bot_api_is_called(telegram):
    done = telegram("set-webhook")
    assert done.returncode == 0, done.stderr
    assert "Telegram delivers to https://localhost/bot" in done.stdout
    assert telegram("status").returncode == 0


def test_a_stranger_never_sees_the_token(telegram):
    before = len(BotApi.paths)
    done = telegram("set-webhook", trusted=False)
    assert done.returncode == 1 and "certificate" in done.stderr, done.stderr
    assert len(BotApi.paths) == before
