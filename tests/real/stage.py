"""A small world around the gateway: a CRM, Telegram's Bot API, a Prometheus with the shipped rules, and an Alertmanager."""

import hashlib
import http.server
import json
import re
import shutil
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import httpx
import yaml

from conftest import PATIENCE, free_port, wait_for
from promql import ALERTS, RULES

#: So many times shorter are all windows: a minute is a second.
FASTER = 60
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
BOT_TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
HOOK_SECRET = "telegrams_secret-0123456789abcdefghijklm"
#: Where a rule has a duration: in brackets, and after these words.
DURATION = re.compile(r"(?:(?<=\[)|(?<=offset )|(?<=for: )|(?<=interval: ))(\d+)([smhdw])\b")


def shortened(text):
    """Rules with every range, offset, `for` and `interval` so many times shorter; nothing else is touched."""

    def shorter(found):
        number, unit = found.groups()
        return f"{int(number) * UNITS[unit] * 1000 // FASTER}ms"

    return DURATION.sub(shorter, text)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b"{}"):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, *_):
        pass


class Crm(Handler):
    """Fails where the path says so."""

    def do_GET(self):
        self.body()
        if "hang-up" in self.path:
            self.close_connection = True
            return
        self.answer(500 if "fail" in self.path else 200)

    do_POST = do_GET


class BotApi(Handler):
    """Telegram, which has another address for the bot than ours, and updates that wait."""

    def do_POST(self):
        self.body()
        info = {"url": "https://elsewhere.example/bot", "has_custom_certificate": False, "pending_update_count": 3}
        self.answer(200, json.dumps({"ok": True, "result": info if "getWebhookInfo" in self.path else True}).encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    #: Hundreds may connect at once; the usual five lose some.
    request_queue_size = 1024


@contextmanager
def serving(handler):
    """A server of that kind on loopback; its URL."""
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


def closed_now():
    """Business hours that it is not now, nor in a few hours."""
    day = (datetime.now(timezone.utc) + timedelta(days=3)).strftime("%a").lower()
    return f'{{ days = "{day}", from = "09:00", to = "17:00", zone = "UTC" }}'


def sections(api):
    """A configuration with everything that alerts look at."""
    return f"""
[client_address]
trusted_proxies = ["127.0.0.1"]
[scopes.read]
allow = ["GET /api/**"]
[[route]]
name = "front"
path = "/front/**"
access = "public"
[[webhook]]
name = "bot"
path = "/bot"
sender = "telegram"
secrets = ["file:hook"]
[webhook.telegram]
bot_token = "file:token"
public_url = "https://localhost"
api = "{api}"
watch = "1s"
[webhook.senders]
expected = [1]
hours = {closed_now()}
action = "count"
[[webhook]]
name = "partner"
path = "/partner"
header = "x-partner-token"
secrets = ["file:hook"]
"""


SECRETS = {"hook": HOOK_SECRET, "token": BOT_TOKEN}


def update(number, sender):
    """A delivery from Telegram."""
    person = {"id": sender, "is_bot": False, "first_name": "A"}
    message = {"message_id": number, "date": 1, "chat": {"id": sender, "type": "private"}, "from": person, "text": "hello"}
    return {"update_id": number, "message": message}


def digest(key):
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


class Prometheus:
    """Scrapes the gateway each second, and judges it by the shipped rules, only faster."""

    def __init__(self, start, folder, gateway, alertmanager=None):
        for path in (RULES, ALERTS):
            (folder / path.name).write_text(shortened(path.read_text()))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [RULES.name, ALERTS.name],
            "scrape_configs": [
                {"job_name": "sidelock", "static_configs": [{"targets": [gateway.admin.removeprefix("http://")]}]}
            ],
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.part = start(
            "prometheus",
            [
                shutil.which("prometheus"),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                # Its default, a minute, is longer than any test.
                "--rules.alert.resend-delay=1s",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )
        wait_for("readiness of Prometheus", lambda: self.part.wait_for_answer(f"{self.url}/-/ready").is_success)

    def ask(self, query):
        """What a query finds: label sets with their values."""
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            answer = client.post(f"{self.url}/api/v1/query", data={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        result = answer.json()["data"]
        if result["resultType"] == "scalar":
            return [({}, float(result["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in result["result"]]


class Receiver:
    """Who is told of alerts: when each came first, and with which labels."""

    def __init__(self):
        self.told = []
        told = self.told

        class Pager(Handler):
            def do_POST(self):
                now = time.monotonic()
                for alert in json.loads(self.body())["alerts"]:
                    if alert["status"] == "firing":
                        told.append((now, alert["labels"], alert["annotations"]))
                self.answer(200)

        self.handler = Pager

    def alert(self, name, **labels):
        """The first one of that name with these labels, once it came."""
        wanted = {"alertname": name, **labels}.items()
        for when, told, notes in list(self.told):
            if wanted <= told.items():
                return when, notes
        return None


def start_alertmanager(start, folder, receiver_url):
    """Tells at once; the address that it listens at."""
    config = {
        "route": {
            "receiver": "pager",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "pager", "webhook_configs": [{"url": receiver_url}]}],
    }
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    part = start(
        "alertmanager",
        [
            shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"),
            "--config.file=alertmanager.yml",
            "--storage.path=alertmanager-data",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
    )
    wait_for("readiness of Alertmanager", lambda: part.wait_for_answer(f"http://{address}/-/ready").is_success)
    return address
