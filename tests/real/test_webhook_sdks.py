"""Webhooks signed by the senders' own libraries, through the gateway, and verified by them again behind it.

One table of libraries and one flow for all of them.
"""

import base64
import json
import os
import re
import secrets
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from hashlib import sha256
from hmac import digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode

import discord_interactions
import httpx
import pytest
import standardwebhooks
import stripe
from nacl.signing import SigningKey
from slack_sdk.signature import SignatureVerifier
from twilio.request_validator import RequestValidator

from conftest import HERE, PATIENCE, ROOT, wait_for, write_private

MEBIBYTE = 1024 * 1024
PATH = "/hooks/sdk"
PUBLIC_URL = "https://crm.example.com"
TOO_OLD = 600
# Two spaces, an escape, a number that would be printed in another way and a last line end: nothing survives a parser.
JSON = '{ "id": "evt_1",  "object": "event", "text": "Gr\\u00fc\u00dfe \u2709", "sum": 1.0 }\r\n'.encode()
FORM = urlencode({"Body": "Grüße & mehr + 1", "From": "+4915100001", "Empty": "", "Url": "https://x/?a=b"}).encode()


@dataclass(frozen=True)
class Keys:
    """What the sender signs with, and what the receiver is given for it."""

    signing: str
    configured: str


@dataclass(frozen=True)
class Signed:
    """A delivery as its sender makes it."""

    target: str
    headers: dict
    body: bytes


@dataclass(frozen=True)
class Sdk:
    """A library. `sign(key, body, time)` makes headers, `verify(key, body, headers)` says whether it believes them."""

    sender: str
    keys: Callable[[], Keys]
    sign: Callable[[str, bytes, int], dict]
    verify: Callable[[str, bytes, dict], bool]
    # False where the sender signs no time, or a time of any age is good.
    timed: bool = True
    # True where a repetition is known by its id, whatever time and signature it has.
    has_id: bool = False
    body: bytes = JSON
    content_type: str = "application/json"
    target: Callable[[bytes], str] = lambda body: PATH

    def deliver(self, keys, body=None, age=0, now=None):
        body = self.body if body is None else body
        moment = (now or int(time.time())) - age
        headers = {"Content-Type": self.content_type, **self.sign(keys.signing, body, moment)}
        return Signed(self.target(body), headers, body)

    def believes(self, keys, received):
        headers = {name.lower(): value for name, value in received.headers}
        return self.verify(keys.configured, received.body, headers)


def shared(make):
    """Keys of a scheme in which both sides have the same secret."""

    def keys():
        secret = make()
        return Keys(secret, secret)

    return keys


def whsec():
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def said(refusal, action, *arguments):
    """What a library that refuses with an exception thinks."""
    try:
        action(*arguments)
    except refusal:
        return False
    return True


def standard_sign(key, body, when):
    # A repetition has the id of the first attempt.
    name = f"msg_{uuid.uuid5(uuid.NAMESPACE_OID, body.hex()).hex}"
    moment = datetime.fromtimestamp(when, timezone.utc)
    signature = standardwebhooks.Webhook(key).sign(name, moment, body.decode())
    return {"webhook-id": name, "webhook-timestamp": str(when), "webhook-signature": signature}


def standard_verify(key, body, headers):
    return said(standardwebhooks.WebhookVerificationError, standardwebhooks.Webhook(key).verify, body, headers)


def stripe_sign(key, body, when):
    return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body.decode(), key, when)}


def stripe_verify(key, body, headers):
    refusal = stripe.SignatureVerificationError
    return said(refusal, stripe.Webhook.construct_event, body, headers.get("stripe-signature"), key)


def slack_sign(key, body, when):
    signature = SignatureVerifier(key).generate_signature(timestamp=str(when), body=body)
    return {"X-Slack-Request-Timestamp": str(when), "X-Slack-Signature": signature}


def slack_verify(key, body, headers):
    return SignatureVerifier(key).is_valid_request(body, headers)


def form_fields(body):
    return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))


def twilio_sign(key, body, _when):
    return {"X-Twilio-Signature": RequestValidator(key).compute_signature(PUBLIC_URL + PATH, form_fields(body))}


def twilio_verify(key, body, headers):
    return RequestValidator(key).validate(PUBLIC_URL + PATH, form_fields(body), headers.get("x-twilio-signature", ""))


def twilio_shared_sign(key, body, _when):
    signature = RequestValidator(key).compute_signature(PUBLIC_URL + PATH, form_fields(body), "HMAC_SHA256")
    settings = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    return {"X-Twilio-Signature": signature, "X-Twilio-Webhooks-Signature-Settings": settings}


def twilio_shared_verify(key, body, headers):
    signature = headers.get("x-twilio-signature", "")
    return RequestValidator(key).validate(PUBLIC_URL + PATH, form_fields(body), signature, "HMAC_SHA256")


def twilio_json_target(body):
    return f"{PATH}?bodySHA256={sha256(body).hexdigest()}"


def twilio_json_sign(key, body, _when):
    return {"X-Twilio-Signature": RequestValidator(key).compute_signature(PUBLIC_URL + twilio_json_target(body), {})}


def twilio_json_verify(key, body, headers):
    url = PUBLIC_URL + twilio_json_target(body)
    return RequestValidator(key).validate(url, body.decode(), headers.get("x-twilio-signature", ""))


def discord_keys():
    key = SigningKey.generate()
    return Keys(key.encode().hex(), key.verify_key.encode().hex())


def discord_sign(key, body, when):
    signature = SigningKey(bytes.fromhex(key)).sign(str(when).encode() + body).signature
    return {"X-Signature-Timestamp": str(when), "X-Signature-Ed25519": signature.hex()}


def discord_verify(key, body, headers):
    signature, stamp = headers.get("x-signature-ed25519", ""), headers.get("x-signature-timestamp", "")
    return discord_interactions.verify_key(body, signature, stamp, key)


SECRET = shared(lambda: secrets.token_hex(16))
WHSEC = shared(whsec)

PYTHON = {
    "standardwebhooks": Sdk("standard-webhooks", WHSEC, standard_sign, standard_verify, has_id=True),
    "gitlab by standardwebhooks": Sdk("gitlab-signing-token", WHSEC, standard_sign, standard_verify, has_id=True),
    "stripe": Sdk("stripe", WHSEC, stripe_sign, stripe_verify, has_id=True),
    "slack_sdk": Sdk("slack", SECRET, slack_sign, slack_verify),
    "twilio": Sdk(
        "twilio", SECRET, twilio_sign, twilio_verify, timed=False,
        body=FORM, content_type="application/x-www-form-urlencoded",
    ),
    "twilio, shared key": Sdk(
        "twilio-sharedkey", SECRET, twilio_shared_sign, twilio_shared_verify, timed=False,
        body=FORM, content_type="application/x-www-form-urlencoded; charset=UTF-8",
    ),
    "twilio, JSON": Sdk(
        "twilio", SECRET, twilio_json_sign, twilio_json_verify, timed=False, target=twilio_json_target
    ),
    "discord-interactions": Sdk("discord", discord_keys, discord_sign, discord_verify),
}


@dataclass(frozen=True)
class NodeSdk:
    """What differs from one package for Node to the next."""

    name: str
    sender: str
    make: Callable[[], str] | None = None
    options: dict = field(default_factory=dict)

    def with_node(self, node):
        """The library, once the process that has it runs."""

        def ask(verb, **more):
            answer = httpx.post(
                node.url, json={"sdk": self.name, "verb": verb, **more}, trust_env=False, timeout=PATIENCE
            )
            assert answer.is_success, node.log()
            return answer.json()

        def sign(key, body, when):
            identity = f"msg_{sha256(body).hexdigest()[:20]}"
            return ask("sign", key=key, body=body.decode(), time=when, id=identity)

        def verify(key, body, headers):
            return ask("verify", key=key, body=body.decode(), headers=headers)

        keys = shared(self.make) if self.make else lambda: Keys(**ask("keys"))
        return Sdk(self.sender, keys, sign, verify, **self.options)


NODE = {
    "standardwebhooks (npm)": NodeSdk("standardwebhooks", "standard-webhooks", whsec, {"has_id": True}),
    "svix (npm)": NodeSdk("svix", "svix", whsec, {"has_id": True}),
    "stripe (npm)": NodeSdk("stripe", "stripe", whsec, {"has_id": True}),
    "@octokit/webhooks-methods (npm)": NodeSdk(
        "octokit", "github", lambda: secrets.token_hex(16), {"timed": False}
    ),
    "discord-interactions (npm)": NodeSdk("discord", "discord"),
    "@sendgrid/eventwebhook (npm)": NodeSdk("sendgrid", "sendgrid", options={"timed": False}),
}


@pytest.fixture(scope="module")
def node(start):
    """The process that has the packages for Node."""
    part = start("node", ["node", HERE / "sdk_node.mjs"], {"NODE_PATH": str(ROOT / "target" / "npm" / "node_modules")})

    def address():
        part.fail_if_ended()
        return re.search(r"listening address=(\S+)", part.log())

    part.url = f"http://{wait_for('address of node', address)[1]}"
    return part


@pytest.fixture(params=[*PYTHON, *NODE])
def sdk(request):
    if request.param in PYTHON:
        return PYTHON[request.param]
    return NODE[request.param].with_node(request.getfixturevalue("node"))


@dataclass(frozen=True)
class Received:
    """A request as the CRM got it."""

    method: str
    target: str
    headers: list
    body: bytes


class Crm:
    """Keeps what it gets, and says 200 only to what it believes."""

    def __init__(self, believes):
        self.received = received = []
        self.believes = believes
        crm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Received(self.command, self.path, self.headers.items(), body)
                received.append(request)
                self.send_response(200 if crm.believes(request) else 422)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join(PATIENCE)
        self.server.server_close()


@pytest.fixture
def crm():
    """Starts a CRM that believes what it is told to believe."""
    started = []

    def start(believes=lambda _: True):
        started.append(Crm(believes))
        return started[-1]

    yield start
    for one in started:
        one.stop()


class Door:
    """A gateway with one webhook, which is known by these keys, and the CRM behind it."""

    def __init__(self, sidelock, crm, sender, configured, more=""):
        self.crm = crm
        files = {f"secret-{number}": text for number, text in enumerate(configured, 1)}
        url = f'public_url = "{PUBLIC_URL}"\n' if sender.startswith("twilio") else ""
        self.gateway = sidelock(
            crm.url,
            secrets=files,
            config=f'[[webhook]]\nname = "sdk"\npath = "{PATH}"\nsender = "{sender}"\n{url}'
            f"secrets = {[f'file:{name}' for name in files]}\n{more}\n",
        )

    def send(self, signed, method="POST"):
        answer = self.gateway.call(method, signed.target, content=signed.body, headers=signed.headers)
        return answer.status_code, answer.content

    def counted(self, series):
        """The values of a counter of this webhook by its other label."""
        scrape = httpx.get(f"{self.gateway.admin}/metrics", trust_env=False).raise_for_status().text
        found = re.findall(rf'^sidelock_{series}\{{(.*)\}} (\d+)$', scrape, re.MULTILINE)
        labels = [(dict(re.findall(r'(\w+)="([^"]*)"', text)), int(value)) for text, value in found]
        mine = [(given, value) for given, value in labels if given.pop("webhook") == "sdk"]
        return {next(iter(given.values())): value for given, value in mine if value}


@pytest.fixture
def door(sidelock, crm):
    """Opens a door for a library with these keys. The CRM believes only what the library verifies with one of them."""

    def open_door(sdk, *keys, more=""):
        behind = crm(lambda received: any(sdk.believes(one, received) for one in keys))
        return Door(sidelock, behind, sdk.sender, [one.configured for one in keys], more)

    return open_door


def changed(body):
    """One byte is another one."""
    at = body.index(b"1")
    return body[:at] + b"2" + body[at + 1 :]


def test_a_delivery_arrives_as_it_was_signed_and_once(sdk, door):
    keys = sdk.keys()
    here = door(sdk, keys)
    now = int(time.time())
    signed = sdk.deliver(keys, now=now)
    assert here.send(signed)[0] == 200, here.gateway.log()
    [received] = here.crm.received
    assert (received.method, received.target, received.body) == ("POST", signed.target, signed.body)
    arrived = {name.lower(): value for name, value in received.headers}
    assert {name: arrived.get(name.lower()) for name in signed.headers} == signed.headers
    # Once more, as a thief would send it; and signed anew, as the sender would. Some sign differently each time.
    assert here.send(signed) == (200, b"")
    assert here.send(sdk.deliver(keys, age=5 if sdk.has_id else 0, now=now)) == (200, b"")
    assert len(here.crm.received) == 1
    assert here.counted("webhook_deliveries_total") == {"accepted": 1, "duplicate": 2}
    another = sdk.deliver(keys, changed(sdk.body))
    assert here.send(another)[0] == 200
    assert [received.body for received in here.crm.received] == [signed.body, another.body]


def test_the_library_behind_the_gateway_believes_not_everything(sdk):
    """Without this, the tests around it would pass with a library that checks nothing."""
    keys = sdk.keys()
    signed = sdk.deliver(keys)
    believes = lambda signed: sdk.believes(keys, Received("POST", signed.target, signed.headers.items(), signed.body))
    assert believes(signed)
    assert not believes(replace(signed, body=changed(signed.body)))
    assert not believes(sdk.deliver(sdk.keys()))


def test_what_the_sender_did_not_sign_is_refused(sdk, door):
    keys = sdk.keys()
    here = door(sdk, keys)
    signed = sdk.deliver(keys)
    refused = {
        "another body": replace(signed, body=changed(signed.body)),
        "a longer body": replace(signed, body=signed.body + b" "),
        "no body": replace(signed, body=b""),
        "another key": sdk.deliver(sdk.keys()),
        "no signature": replace(signed, headers={"Content-Type": sdk.content_type}),
    }
    if sdk.timed:
        refused["too old"] = sdk.deliver(keys, age=TOO_OLD)
        refused["in the future"] = sdk.deliver(keys, age=-TOO_OLD)
    for why, delivery in refused.items():
        assert here.send(delivery) == (401, b""), why
    assert here.crm.received == []
    counted = here.counted("webhook_deliveries_total")
    assert counted["webhook_signature_missing"] == 1 and sum(counted.values()) == len(refused), counted
    if sdk.timed:
        assert (counted["webhook_timestamp_too_old"], counted["webhook_timestamp_in_future"]) == (1, 1)
    assert here.send(signed)[0] == 200, "the refusals were not for these reasons"


def test_both_secrets_are_good_while_rotating(sdk, door):
    new, old, never = sdk.keys(), sdk.keys(), sdk.keys()
    here = door(sdk, new, old)
    assert here.send(sdk.deliver(old))[0] == 200
    assert here.counted("webhook_secret_uses_total") == {"2": 1}
    assert here.send(sdk.deliver(new, changed(sdk.body)))[0] == 200
    assert here.send(sdk.deliver(never)) == (401, b"")
    assert here.counted("webhook_secret_uses_total") == {"1": 1, "2": 1}
    assert len(here.crm.received) == 2


def test_a_secret_is_rotated_while_the_gateway_runs(door):
    sdk = PYTHON["slack_sdk"]
    old, new = sdk.keys(), sdk.keys()
    here = door(sdk, old)
    before = sdk.deliver(old)
    assert [here.send(before)[0], here.send(sdk.deliver(new))[0]] == [200, 401]
    folder = here.gateway.folder
    write_private(folder / "secret-new", new.configured)
    file, edited = folder / "sidelock.toml", folder / "edited.toml"
    edited.write_text(file.read_text().replace("secrets = [", "secrets = ['file:secret-new', "))
    edited.replace(file)
    reloads = 'sidelock_reloads_total{result="accepted"} 1'
    scrape = lambda: httpx.get(f"{here.gateway.admin}/metrics", trust_env=False).text
    wait_for("reload", lambda: reloads in scrape())
    here.crm.believes = lambda received: sdk.believes(new, received)
    assert here.send(sdk.deliver(new, changed(sdk.body)))[0] == 200
    # What was seen before is still known.
    assert here.send(before) == (200, b"")
    assert len(here.crm.received) == 2
    assert here.counted("webhook_deliveries_total")["duplicate"] == 1


def stripe_both(unknown, known):
    """The time of the second one, which is the one that counts, and the signatures of both."""
    stamp, signature = known.split(",")
    return f"{stamp},{unknown.split(',')[1]},{signature}"


@pytest.mark.parametrize(
    ("name", "header", "both"),
    [
        ("standardwebhooks", "webhook-signature", lambda unknown, known: f"{unknown} {known}"),
        ("stripe", "Stripe-Signature", stripe_both),
    ],
)
def test_a_sender_may_sign_with_both_of_its_secrets(door, name, header, both):
    """What these two do themselves while a secret is being rotated."""
    sdk = PYTHON[name]
    new, old = sdk.keys(), sdk.keys()
    here = door(sdk, old)
    unknown, known = sdk.deliver(new), sdk.deliver(old)
    signatures = both(unknown.headers[header], known.headers[header])
    assert here.send(replace(known, headers={**known.headers, header: signatures}))[0] == 200
    assert len(here.crm.received) == 1


def test_what_the_crm_did_not_take_may_come_again(sidelock, crm):
    sdk = PYTHON["stripe"]
    keys = sdk.keys()
    answers = iter([False, True])
    here = Door(sidelock, crm(lambda _: next(answers)), sdk.sender, [keys.configured])
    signed = sdk.deliver(keys)
    assert [here.send(signed)[0] for _ in range(3)] == [422, 200, 200]
    assert [received.body for received in here.crm.received] == [signed.body] * 2
    assert here.counted("webhook_deliveries_total") == {"upstream_error": 1, "accepted": 1, "duplicate": 1}


def test_equal_deliveries_at_once_reach_the_crm_once(sidelock, crm):
    sdk = PYTHON["stripe"]
    keys = sdk.keys()
    arrived, released = threading.Event(), threading.Event()

    def believes(_):
        if not arrived.is_set():
            arrived.set()
            released.wait(PATIENCE)
        return True

    here = Door(sidelock, crm(believes), sdk.sender, [keys.configured])
    signed = sdk.deliver(keys)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(here.send, signed)
        wait_for("delivery at the CRM", lambda: arrived.is_set() or first.done())
        # Neither taken nor lost yet: the sender should come again.
        meanwhile = [here.send(signed) for _ in range(3)]
        released.set()
        assert first.result()[0] == 200
    assert meanwhile == [(503, b"")] * 3
    assert here.send(signed) == (200, b"")
    assert len(here.crm.received) == 1


def captured(name, sdk, keys, signed):
    """One line for `sidelock webhook verify`."""
    return {
        "id": name,
        "preset": sdk.sender,
        "secrets": [keys.configured],
        "request": {
            "method": "POST",
            "url": PUBLIC_URL + signed.target,
            "headers": list(signed.headers.items()),
            "body_base64": base64.b64encode(signed.body).decode(),
        },
    }


def test_captured_deliveries_get_the_same_verdicts(node):
    sdks = {**PYTHON, **{name: one.with_node(node) for name, one in NODE.items()}}
    lines, expected = [], {}
    for name, sdk in sdks.items():
        keys = sdk.keys()
        signed = sdk.deliver(keys)
        wanted = {
            "good": (signed, "proved"),
            "changed": (replace(signed, body=changed(signed.body)), None),
            "stranger": (sdk.deliver(sdk.keys()), "webhook_signature_wrong"),
        }
        if sdk.timed:
            wanted["old"] = (sdk.deliver(keys, age=TOO_OLD), "webhook_timestamp_too_old")
        for case, (delivery, reason) in wanted.items():
            lines.append(json.dumps(captured(f"{name}: {case}", sdk, keys, delivery)))
            expected[f"{name}: {case}"] = ("accept" if case == "good" else "reject", reason)
    binary = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()
    done = subprocess.run(
        [binary, "webhook", "verify"], input="\n".join(lines), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    said = {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert {name: said[name]["verdict"] for name in said} == {name: verdict for name, (verdict, _) in expected.items()}
    for name, (_, reason) in expected.items():
        assert reason in (None, said[name]["reason"]), said[name]


def test_slacks_challenge_is_answered(door):
    sdk = PYTHON["slack_sdk"]
    keys = sdk.keys()
    here = door(sdk, keys)
    challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
    body = json.dumps({"token": "old", "challenge": challenge, "type": "url_verification"}).encode()
    assert here.send(sdk.deliver(keys, body)) == (200, challenge.encode())
    assert here.send(sdk.deliver(sdk.keys(), body)) == (401, b"")
    assert here.send(sdk.deliver(keys, body, age=TOO_OLD)) == (401, b"")
    assert here.crm.received == []
    assert here.counted("webhook_deliveries_total")["handshake"] == 1


def test_slacks_challenge_can_be_the_crms_to_answer(door):
    sdk = PYTHON["slack_sdk"]
    keys = sdk.keys()
    here = door(sdk, keys, more='handshake = "forward"')
    body = b'{"type":"url_verification","challenge":"abc"}'
    assert here.send(sdk.deliver(sdk.keys(), body)) == (401, b"")
    assert here.send(sdk.deliver(keys, body)) == (200, b"")
    assert [received.body for received in here.crm.received] == [body]


@pytest.mark.parametrize("name", ["discord-interactions", "discord-interactions (npm)"])
def test_discords_ping_is_answered(door, request, name):
    sdk = PYTHON[name] if name in PYTHON else NODE[name].with_node(request.getfixturevalue("node"))
    keys = sdk.keys()
    here = door(sdk, keys)
    ping = b'{"application_id":"1","id":"2","token":"t","type":1,"version":1}'
    status, pong = here.send(sdk.deliver(keys, ping))
    assert (status, json.loads(pong)) == (200, {"type": 1})
    assert here.send(sdk.deliver(sdk.keys(), ping)) == (401, b"")
    signed = sdk.deliver(keys, ping)
    # Discord itself does this, to see whether anyone looks.
    assert here.send(replace(signed, body=ping.replace(b'"1"', b'"3"'))) == (401, b"")
    assert here.crm.received == []


META = "agreed_token_0123456789abcdef"


def meta_registration(**changes):
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": META, **changes}
    return Signed(f"{PATH}?{urlencode(query)}", {}, b"")


def test_metas_challenge_is_answered(sidelock, crm, tmp_path):
    agreed = write_private(tmp_path / "agreed", META)
    here = Door(sidelock, crm(), "meta", ["a" * 32], f'verify_token = "file:{agreed}"')
    assert here.send(meta_registration(), "GET") == (200, b"1158201444")
    for wrong in [{"hub.verify_token": META + "x"}, {"hub.verify_token": ""}, {"hub.mode": "unsubscribe"}]:
        assert here.send(meta_registration(**wrong), "GET") == (401, b""), wrong
    assert here.crm.received == []
    assert META not in here.gateway.log()


@pytest.fixture
def github(sidelock, crm):
    """A door for bodies of any bytes, which no library here can sign."""
    secret = secrets.token_hex(16)
    here = Door(sidelock, crm(), "github", [secret])

    def deliver(body):
        signature = digest(secret.encode(), body, "sha256").hex()
        return Signed(PATH, {"X-Hub-Signature-256": f"sha256={signature}"}, body)

    here.deliver = deliver
    return here


def in_pieces(body):
    return (body[at : at + 10_000] for at in range(0, len(body), 10_000))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_of_any_bytes_arrives_identical(github, is_chunked):
    body = bytes(range(256)) * (MEBIBYTE // 256)
    signed = github.deliver(body)
    assert github.send(replace(signed, body=in_pieces(body) if is_chunked else body))[0] == 200
    [received] = github.crm.received
    assert received.body == body


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
def test_a_body_over_the_limit_is_refused(github, is_chunked):
    body = bytes(MEBIBYTE + 1)
    signed = github.deliver(body)
    assert github.send(replace(signed, body=in_pieces(body) if is_chunked else body)) == (413, b"")
    assert github.crm.received == []
    assert github.send(github.deliver(b"{}"))[0] == 200


def test_a_sender_that_asks_before_it_sends(github, tmp_path):
    """curl waits for 100 (Continue) before it sends a body of this size."""
    body = bytes(range(256)) * 256
    signed = github.deliver(body)
    (tmp_path / "body").write_bytes(body)
    headers = [word for name, value in signed.headers.items() for word in ("-H", f"{name}: {value}")]
    done = subprocess.run(
        ["curl", "--silent", "--noproxy", "*", "--expect100-timeout", str(PATIENCE), "-H", "Expect: 100-continue",
         *headers, "--data-binary", f"@{tmp_path / 'body'}", "--write-out", "%{http_code}", github.gateway.url + PATH],
        capture_output=True, text=True, timeout=PATIENCE - 5,
    )
    assert done.stdout == "200", done.stderr
    assert [received.body for received in github.crm.received] == [body]
