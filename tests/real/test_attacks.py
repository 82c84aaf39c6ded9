"""Real attacks over HTTP; the shipped alerts reach a receiver, with the right key, soon.

The rules are the shipped ones, with every window sixty times shorter (`stage.shortened`): a minute is a second.
"""

import re
import shutil
import threading
import time

import httpx
import pytest

from conftest import PATIENCE, new_key, wait_for
from promql import ALERTS, RULES
from stage import (
    DURATION,
    HOOK_SECRET,
    SECRETS,
    BotApi,
    Crm,
    Prometheus,
    Receiver,
    sections,
    serving,
    shortened,
    start_alertmanager,
    update,
)

#: Longer than any attack here guesses, but for the one that is to be banned.
BAN = '[ban]\nafter = "150/10min"\nfor = "1h"\n'
#: How long each attack may go unnoticed, in seconds.
SOON = 30
#: What a key did before it was stolen, in seconds: half a minute is kept out of its past, as half an hour is in earnest.
PAST = 36


class Steady(threading.Thread):
    """Does something again and again, so many times a second, until it is told to end."""

    def __init__(self, act, per_second):
        super().__init__(daemon=True)
        self.act, self.pause, self.over = act, 1 / per_second, threading.Event()

    def run(self):
        while not self.over.wait(self.pause):
            self.act()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(PATIENCE)


class World:
    """The gateway under watch."""

    def __init__(self, sidelock, start, folder, crm, api, receiver, pager):
        self.receiver = receiver
        self.gateway = sidelock(
            crm,
            config=sections(api) + BAN,
            secrets=SECRETS,
            keys={"shop": ["read"], "bank": ["read"], "bystander": ["read"], "watched": ["read"], "decoy": []},
            lines={
                "bank": 'allow_from = ["198.51.100.0/24"]',
                "watched": 'mode = "observe"',
                "decoy": "decoy = true",
            },
        )
        self.client = httpx.Client(base_url=self.gateway.url, trust_env=False, timeout=PATIENCE)
        alertmanager = start_alertmanager(start, folder, pager)
        self.prometheus = Prometheus(start, folder, self.gateway, alertmanager)

    def call(self, method, path, key=None, address="192.0.2.10", **more):
        """One request as from that address, which the trusted proxy in front told."""
        headers = {"X-Forwarded-For": address, **more.pop("headers", {})}
        if key:
            headers["X-API-Key"] = self.gateway.keys.get(key, key)
        return self.client.request(method, path, headers=headers, **more).status_code

    def deliver(self, path, secret, body=None):
        name = "X-Telegram-Bot-Api-Secret-Token" if path == "/bot" else "X-Partner-Token"
        return self.call("POST", path, headers={name: secret}, json=body or {})

    def noticed(self, since, name, **labels):
        """Waits until the receiver is told; seconds since then, and what it was told."""
        when, notes = wait_for(f"alert {name} {labels}", lambda: self.receiver.alert(name, **labels), SOON)
        assert when > since, f"{name} was there before the attack"
        print(f"  {when - since:5.1f} s  {name} {labels or ''}")
        return notes


@pytest.fixture
def world(sidelock, start, folder):
    for program in ("prometheus", "prometheus-alertmanager"):
        assert shutil.which(program), program
    receiver = Receiver()
    with serving(Crm) as crm, serving(BotApi) as api, serving(receiver.handler) as pager:
        world = World(sidelock, start, folder, crm, api, receiver, pager)
        yield world
        world.client.close()


def spray(world):
    """Many keys from one address."""
    statuses = {world.call("GET", "/api/x", new_key(), "203.0.113.7") for _ in range(120)}
    assert statuses == {401, 429}


def insist(world):
    """The same address goes on, until it may use no key at all, not even a good one."""
    assert 403 in {world.call("GET", "/api/x", new_key(), "203.0.113.7") for _ in range(60)}
    assert world.call("GET", "/api/x", "bystander", "203.0.113.7") == 403


def botnet(world):
    """Few keys from each of many addresses."""
    for address in range(80):
        for _ in range(2):
            assert world.call("GET", "/api/x", new_key(), f"198.18.0.{address}") == 401


def forge(world):
    for _ in range(20):
        assert world.deliver("/partner", "a-wrong-secret-0123456789") in (401, 429)


def inject(world):
    """Tickets in the night, from an account that nobody expects."""
    for number in range(40):
        assert world.deliver("/bot", HOOK_SECRET, update(number, sender=666)) == 200


def probe(world):
    for number in range(40):
        assert world.call("POST", f"/api/admin/{number}", "shop") == 403


def elsewhere(world):
    """The right key, from where it may not be used."""
    assert world.call("GET", "/api/x", "bank", "203.0.113.99") == 403


def touch_decoy(world):
    assert world.call("GET", "/api/x", "decoy", "203.0.113.50") == 401


def travel(world):
    """The stolen key, from a network that its owner never used."""
    assert world.call("GET", "/api/x", "shop", "198.51.100.77") == 200


ATTACKS = [
    (spray, [("SidelockOneAddressGuesses", {}), ("SidelockRefusedCredentials", {})]),
    (insist, [("SidelockAddressBanned", {})]),
    (botnet, [("SidelockManyAddressesGuess", {})]),
    (forge, [("SidelockWebhookForged", {"webhook": "partner"})]),
    (inject, [("SidelockOffHoursTickets", {"webhook": "bot"}), ("SidelockUnexpectedSenders", {"webhook": "bot"})]),
    (probe, [("SidelockKeyProbing", {"key": "shop"})]),
    (elsewhere, [("SidelockKeyOutsideItsAddresses", {"key": "bank"})]),
    (touch_decoy, [("SidelockDecoyTouched", {"key": "decoy"})]),
    (travel, [("SidelockKeyNewNetwork", {"key": "shop"})]),
]


def try_out(world):
    """A key that is only observed may do what it will not: the alert is on its way, for it takes a day, here 24 minutes."""
    assert world.call("GET", "/elsewhere", "watched") == 200
    pending = 'ALERTS{alertname="SidelockKeyOnlyObserved",alertstate="pending",key="watched"}'
    wait_for("pending alert of the observed key", lambda: world.prometheus.ask(pending), SOON)


@pytest.mark.parametrize("rules", [RULES, ALERTS], ids=lambda path: path.name)
def test_only_the_windows_are_shorter(rules):
    text = rules.read_text()
    made = shortened(text)
    assert not DURATION.search(made), "none is left as long as it was"
    anything = re.compile(r"(?<=[ \[])[0-9]+(ms|[smhdw])\b")
    assert anything.sub("_", made) == anything.sub("_", text)


def test_attacks_are_noticed(world):
    started = time.monotonic()
    print("\nfrom the attack to the receiver:")
    with (
        Steady(lambda: world.call("GET", "/api/orders", "shop"), 1),
        Steady(lambda: world.call("GET", "/api/orders", "bystander"), 2),
    ):
        # The bot was another's from the start.
        world.noticed(started, "SidelockTelegramElsewhere", webhook="bot")
        for attack, alerts in ATTACKS:
            since = time.monotonic()
            attack(world)
            for name, labels in alerts:
                notes = world.noticed(since, name, **labels)
                assert notes["summary"] and notes["runbook_url"].endswith(f"#{name.lower()}")
                assert notes.get("title", labels.get("key")) == labels.get("key"), "the title of the key, here its id"
        try_out(world)
        wait_for("a past of the key", lambda: time.monotonic() - started > PAST, PAST + 5)
        since = time.monotonic()
        with Steady(lambda: world.call("GET", "/api/customers", "shop"), 50):
            world.noticed(since, "SidelockKeyVolumeJump", key="shop")
    accused = {labels["key"] for _, labels, _ in world.receiver.told if "key" in labels}
    assert accused <= {"shop", "bank", "decoy"}, "nobody else is suspected"
    assert time.monotonic() - started < 90
