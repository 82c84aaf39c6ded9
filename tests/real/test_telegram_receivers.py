"""Real webhook servers for Telegram bots behind the gateway. Each checks a secret of its own, which only the gateway
knows; Telegram knows another one."""

import json
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from conftest import HERE, PATIENCE, ROOT, free_port, wait_for

HEADER = "X-Telegram-Bot-Api-Secret-Token"
TELEGRAMS = "telegrams_secret-0123456789abcdefghijklm"
RECEIVERS = "receivers_secret-0123456789abcdefghijklm"
COMMANDS = {
    "python-telegram-bot": [sys.executable, HERE / "receivers" / "ptb.py"],
    "grammy": ["node", HERE / "receivers" / "grammy.cjs"],
    "telegraf": ["node", HERE / "receivers" / "telegraf.cjs"],
}


class BotApi(BaseHTTPRequestHandler):
    """As much of Telegram's Bot API as a bot asks for when it starts and stops."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        user = {"id": 1, "is_bot": True, "first_name": "Desk", "username": "desk_bot"}
        answer = {"ok": True, "result": user if self.path.endswith("/getMe") else True}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def bot_api():
    server = ThreadingHTTPServer(("127.0.0.1", 0), BotApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module", params=COMMANDS)
def receiver(request, start, bot_api):
    port = free_port()
    part = start(
        request.param,
        COMMANDS[request.param],
        {
            "PORT": str(port),
            "BOT_SECRET": RECEIVERS,
            "BOT_API": bot_api,
            "NODE_PATH": str(ROOT / "target" / "npm" / "node_modules"),
        },
    )
    part.url = f"http://127.0.0.1:{port}"
    part.wait_for_answer(f"{part.url}/nothing")
    return part


@pytest.fixture
def gateway(sidelock, receiver):
    return sidelock(
        receiver.url,
        upstream_keys=f'credential = {{ header = "{HEADER}", secret = "file:receivers" }}',
        secrets={"telegrams": TELEGRAMS, "receivers": RECEIVERS},
        config="""
[[webhook]]
name = "telegram"
path = "/telegram/webhook"
upstream_path = "/bot"
sender = "telegram"
secrets = ["file:telegrams"]
""",
    )


def update(text):
    """What Telegram sends for one message."""
    person = {"id": 7, "is_bot": False, "first_name": "Ada"}
    chat = {"id": 7, "type": "private", "first_name": "Ada"}
    message = {"message_id": 1, "date": 1700000000, "from": person, "chat": chat, "text": text}
    return {"update_id": zlib.crc32(text.encode()), "message": message}


def handled(receiver, text):
    return f"handled: {text}\n" in receiver.log()


def test_only_the_right_secret_reaches_the_handler(gateway, receiver):
    deliver = lambda text, headers: gateway.call("POST", "/telegram/webhook", json=update(text), headers=headers)
    # The receivers' own secret is one of the wrong ones.
    for name, headers in {"none": {}, "wrong": {HEADER: "x" * 40}, "inner": {HEADER: RECEIVERS}}.items():
        refused = deliver(name, headers)
        assert (refused.status_code, refused.content) == (401, b""), name
    accepted = deliver("the printer is on fire", {HEADER: TELEGRAMS})
    assert accepted.status_code == 200, accepted.text
    wait_for("update in the handler", lambda: handled(receiver, "the printer is on fire"))
    # Receivers work in order, so a refused one would have been there before.
    assert not any(handled(receiver, name) for name in ["none", "wrong", "inner"]), receiver.log()


def test_an_update_that_comes_again_is_handled_once(gateway, receiver):
    """Telegram repeats what it got no answer to, and a thief what he saw."""
    for text in ["printed once", "printed once", "after it"]:
        answer = gateway.call("POST", "/telegram/webhook", json=update(text), headers={HEADER: TELEGRAMS})
        assert answer.status_code == 200, text
    wait_for("last update in the handler", lambda: handled(receiver, "after it"))
    assert receiver.log().count("handled: printed once\n") == 1


def test_the_receiver_itself_knows_only_its_own_secret(receiver):
    """Without this, the test above would pass with a receiver that checks nothing."""
    ask = lambda secret: httpx.post(
        f"{receiver.url}/bot", json=update(secret), headers={HEADER: secret}, trust_env=False, timeout=PATIENCE
    )
    assert ask(TELEGRAMS).status_code in (401, 403)
    assert ask(RECEIVERS).status_code == 200


def test_telegrams_secret_is_taken_out(sidelock, receiver):
    """Without a credential for the CRM no secret is left, and the receiver refuses."""
    bare = sidelock(
        receiver.url,
        secrets={"telegrams": TELEGRAMS},
        config='[[webhook]]\nname = "telegram"\npath = "/bot"\nsender = "telegram"\nsecrets = ["file:telegrams"]\n',
    )
    answer = bare.call("POST", "/bot", json=update("bare"), headers={HEADER: TELEGRAMS})
    assert answer.status_code in (401, 403)
    assert not handled(receiver, "bare")
