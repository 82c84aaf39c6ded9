#!/usr/bin/env python3
"""Makes a folder with a configuration, a key file and an access log to measure `log` and `report` with.

The same lines each time, for the same --lines and --until. One key leaks: for its last two days it is used from new addresses,
exports, and changes tickets. Titles and paths hold what must not become markup or steer a terminal.
"""

import argparse
import datetime
import hashlib
import json
import pathlib
import random

DAYS = 35
KEYS = 200
LEAKED = "leaked01"
CONFIG = """[server]
listen = ["127.0.0.1:0"]
[upstream]
url = "http://127.0.0.1:1"
[keys]
file = "keys.toml"
[scopes.read]
allow = ["GET /api/**"]
[scopes.write]
allow = ["POST,PATCH,DELETE /api/**"]
[scopes.export]
allow = ["GET /api/export/*"]
[scopes.reports]
allow = ["GET /reports/**"]
[[webhook]]
name = "telegram"
path = "/telegram"
sender = "telegram"
secrets = ["env:TELEGRAM_WEBHOOK_SECRET"]
"""


def stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def key_file(until: datetime.datetime) -> str:
    blocks = []
    for number in range(KEYS):
        key = LEAKED if number == 0 else f"key{number:05}"
        title = {
            0: 'Payment "gateway" <script>alert(1)</script>',
            1: "Newsletter & co. <img src=x onerror=alert(2)>",
            2: "Zoë's export \u202egnp.exe",
        }.get(number, f"Integration {number}")
        expires = until + datetime.timedelta(days=7 if number % 40 == 5 else 60)
        created = until - datetime.timedelta(days=200)
        digest = hashlib.sha256(key.encode()).hexdigest()
        scopes = ["read", "write", "export", "reports"] if number % 3 == 0 else ["read", "write"]
        blocks.append(
            f"[[key]]\nid = {json.dumps(key)}\ntitle = {json.dumps(title, ensure_ascii=False)}\n"
            f'digest = "sha256:{digest}"\nscopes = {json.dumps(scopes)}\nowner = "team{number % 7}@example.com"\n'
            f"created = {stamp(created)}\nexpires = {stamp(expires)}\n"
        )
    return "\n".join(blocks)


class Ledger:
    def __init__(self, lines: int, until: datetime.datetime):
        self.random = random.Random(4711)
        self.lines = lines
        self.until = until
        # Some keys ask a hundred times as often as others; the last twenty never do.
        self.keys = [f"key{number:05}" for number in range(1, KEYS - 20)]
        self.weights = [1 / (number + 3) for number in range(len(self.keys))]
        self.strangers = [f"198.51.{self.random.randrange(256)}.{self.random.randrange(256)}" for _ in range(3)]

    def moments(self):
        """Fewer requests at night and on weekends."""
        begin = self.until - datetime.timedelta(days=DAYS)
        shares = []
        for hour in range(DAYS * 24):
            moment = begin + datetime.timedelta(hours=hour)
            busy = 1.0 if 7 <= moment.hour < 19 else 0.25
            shares.append(busy * (0.35 if moment.weekday() >= 5 else 1.0))
        total, carry = sum(shares), 0.0
        for hour, share in enumerate(shares):
            exact = self.lines * share / total + carry
            count = int(exact)
            carry = exact - count
            start = begin + datetime.timedelta(hours=hour)
            for number in range(count):
                yield start, int(number * 3_600_000 / max(count, 1)), hour

    def write(self, folder: pathlib.Path) -> None:
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        file, day, written = None, None, 0
        for start, millis, hour in self.moments():
            if day != start.date():
                if file:
                    file.close()
                    name = start.strftime("access-%Y%m%dT%H%M%SZ.ndjson")
                    (state / "access.ndjson").rename(state / name)
                day, file = start.date(), open(state / "access.ndjson", "w", buffering=1 << 20)
                second, text = None, ""
            now = millis // 1000
            if now != second:
                second, text = now, (start + datetime.timedelta(seconds=now)).strftime("%Y-%m-%dT%H:%M:%S")
            written += 1
            file.write(f'{{"time":"{text}.{millis % 1000:03}Z","id":"{written:016x}",{self.rest(hour)}}}\n')
        if file:
            file.close()

    def rest(self, hour: int) -> str:
        roll = self.random.random()
        if roll < 0.03:
            return self.refused()
        if roll < 0.05:
            sender = "unexpected" if self.random.random() < 0.05 else "expected"
            hours = "out" if self.random.random() < 0.1 else "in"
            return self.line("149.154.167.220", "POST", "/telegram", "telegram", 200, f',"sender":"{sender}","hours":"{hours}"')
        leaks = hour >= (DAYS - 2) * 24
        if roll < (0.16 if leaks else 0.06):
            return self.leaked(leaks)
        key = self.random.choices(self.keys, self.weights)[0]
        client = f"203.0.113.{hash_of(key) % 250}"
        return self.asked(key, client)

    def refused(self) -> str:
        roll = self.random.random()
        if roll < 0.4:
            client = self.strangers[int(roll * 7.4)]
        elif roll < 0.7:
            client = f"2001:db8:{self.random.randrange(65536):x}::{self.random.randrange(65536):x}"
        else:
            client = ".".join(str(self.random.randrange(1, 255)) for _ in range(4))
        reason = "missing" if roll < 0.1 else "malformed" if roll < 0.2 else "unknown"
        path = "/api/<script>alert(3)</script>" if roll < 0.02 else "/api/messages"
        return self.line(client, "GET", path, "api", 401, f',"reason":"{reason}"')

    def asked(self, key: str, client: str, changing: float = 0.2) -> str:
        number = self.random.randrange(1, 50_000)
        roll = self.random.random()
        more = f',"key":"{key}"'
        if roll < changing:
            method = "POST" if roll < changing / 2 else "PATCH"
            path = f"/api/tickets/{number}" + ("/notes" if method == "POST" else "")
            if self.random.random() < 0.02:
                return self.line(client, method, path, "api", 403, more + ',"reason":"scope"')
            return self.line(client, method, path, "api", 200, more + ',"scope":"write"')
        path = f"/api/tickets/{number}" if roll < 0.6 else f"/api/contacts/{number}/messages"
        status = 404 if self.random.random() < 0.01 else 200
        return self.line(client, "GET", path, "api", status, more + ',"scope":"read"')

    def leaked(self, leaks: bool) -> str:
        if not leaks or self.random.random() < 0.3:
            return self.asked(LEAKED, "203.0.113.20", 0.05)
        client = self.random.choice(["192.0.2.66", "192.0.2.67", f"2001:db8:bad::{self.random.randrange(65536):x}"])
        if self.random.random() < 0.05:
            path = f"/api/export/{self.random.choice(['contacts', 'tickets'])}"
            return self.line(client, "GET", path, "api", 200, f',"key":"{LEAKED}","scope":"export"', 4_000_000)
        return self.asked(LEAKED, client, 0.4)

    def line(self, client, method, path, route, status, more, out=1_830) -> str:
        # `key` and `scope` stand before `status` in real lines; readers do not mind.
        took = self.random.randrange(900, 60_000)
        return (
            f'"client":"{client}","method":"{method}","path":"{path}","route":"{route}"{more},"status":{status},'
            f'"end":"complete","bytes_in":0,"bytes_out":{out},"us":{took},"upstream_us":{took - 600}'
        )


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--until", default="2026-11-22T10:00:00+00:00", help="the moment after the last line")
    arguments = parser.parse_args()
    until = datetime.datetime.fromisoformat(arguments.until)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "sidelock.toml").write_text(CONFIG)
    keys = arguments.folder / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(key_file(until))
    Ledger(arguments.lines, until).write(arguments.folder)


if __name__ == "__main__":
    main()
