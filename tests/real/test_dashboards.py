"""The Grafana dashboards: each panel says what it shows, asks for what there is, and finds it on a real Prometheus."""

import json
import math
import re
import subprocess
import sys
import threading

import httpx
import pytest
import yaml

from conftest import PATIENCE, ROOT, new_key, wait_for
from promql import check, metrics_in
from stage import HOOK_SECRET, SECRETS, BotApi, Crm, Prometheus, digest, sections, serving, update

FOLDER = ROOT / "dashboards/grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
#: What stands for Grafana's own variables. Sixty times faster than in earnest, like the rules.
VARIABLES = {"$__rate_interval": "5s", "$job": "sidelock", "$instance": ".+", "$key": ".+"}
UNITS = {"none", "short", "reqps", "cps", "s", "percentunit", "bytes", "dateTimeFromNow", "bool_yes_no"}
#: Targets that find nothing where all is well, or where there is no past of weeks.
EMPTY = {
    "Seconds to end a revoked key A",
    "Now and usually B",
    "Times the usual A",
    "Telegram's last error A",
}


def panels(name):
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def targets():
    for name in DASHBOARDS:
        for panel in panels(name):
            for target in panel["targets"]:
                yield pytest.param(panel, target, id=f"{name} {panel['id']}: {panel['title']} {target['refId']}")


def filled(query):
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


def test_they_are_what_their_source_makes():
    done = subprocess.run(
        [sys.executable, "-B", FOLDER / "make.py", "--check"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name):
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == f"sidelock-{name}" and dashboard["title"] and not dashboard["editable"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert all(variable["refresh"] == 2 for variable in variables.values() if variable["type"] == "query")
    shown = panels(name)
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in shown if panel["type"] != "stat"]
    assert len(set(titles)) == len(titles)
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
    for panel in shown:
        assert panel["title"] and len(panel["description"]) > 10 and panel["targets"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        used = set(re.findall(r"\$(\w+)", json.dumps([target["expr"] for target in panel["targets"]])))
        assert used <= variables.keys() | {"__rate_interval"}, panel["title"]


@pytest.mark.parametrize("panel, target", list(targets()))
def test_a_target_asks_for_what_there_is(panel, target):
    query = target["expr"]
    labels = check(filled(query))
    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, "the legend shows labels that are there"
    for metric in metrics_in(query):
        for selector in re.findall(rf"\b{metric}\b(?!\w)(.?[^}}]*)", query):
            assert selector.startswith('{job="$job"'), f"{metric} of another job is shown: {query}"
    if re.search(r"\b(rate|increase)\(", query):
        assert re.search(r"\[(\$__rate_interval|24h)\]", query), f"a window that does not fit every zoom: {query}"


def test_the_variables_find_keys_by_title():
    [key] = [variable for variable in DASHBOARDS["keys"]["templating"]["list"] if variable["name"] == "key"]
    # Grafana's named groups, in Python's words.
    pattern = key["regex"].strip("/").replace("(?<", "(?P<")
    found = re.search(pattern, 'sidelock_key_info{instance="a", job="sidelock", key="7Qm2xR9k", title="Payment gateway"} 1 1')
    assert found.groupdict() == {"value": "7Qm2xR9k", "text": "Payment gateway"}


def test_the_provisioning_finds_them():
    [source] = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus" and source["uid"]
    [provider] = yaml.safe_load((FOLDER / "provisioning/dashboards/sidelock.yml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"] and not provider["allowUiUpdates"]
    assert DASHBOARDS.keys() == {"overview", "keys", "security"}


class Load(threading.Thread):
    """Does everything that a gateway can come to see, again and again."""

    def __init__(self, gateway, old, pause):
        super().__init__(daemon=True)
        self.gateway, self.old, self.pause = gateway, old, pause
        self.over, self.number = threading.Event(), 0
        self.failed = None

    def run(self):
        try:
            with httpx.Client(base_url=self.gateway.url, trust_env=False, timeout=PATIENCE) as client:
                while not self.over.wait(self.pause):
                    self.number += 1
                    self.once(client)
        except httpx.HTTPError as error:
            self.failed = error

    def once(self, client):
        key = lambda title: {"X-API-Key": self.gateway.keys.get(title, title)}
        get = lambda path, headers=None: client.get(path, headers=headers or {})
        for path in ("/api/x", "/api/fail", "/api/hang-up", "/elsewhere"):
            get(path, key("shop"))
        get("/api/x", key(self.old))
        get("/api/x", {**key("bank"), "X-Forwarded-For": "203.0.113.9"})
        for title in ("slow", "slow", "ended", "decoy", "watched", new_key()):
            get("/api/x", key(title))
            get("/elsewhere", key(title))
        # A network that the key never had, and an address that guesses until it is banned.
        get("/api/x", {**key("shop"), "X-Forwarded-For": f"198.18.{self.number % 256}.1"})
        get("/api/x", {**key(new_key()), "X-Forwarded-For": "203.0.113.66"})
        get("/front/page")
        get("/api/x")
        hook = lambda secret: {"X-Partner-Token": secret}
        for path, secret in (("/partner", HOOK_SECRET), ("/partner", "wrong-secret-0123456789")):
            client.post(path, headers=hook(secret), json={})
        client.post("/failing", headers=hook(HOOK_SECRET), json={})
        for sender in (1, 2):
            body = update(self.number * 2 + sender, sender)
            client.post("/bot", headers={"X-Telegram-Bot-Api-Secret-Token": HOOK_SECRET}, json=body)


def is_something(found):
    """True if a graph has something to draw."""
    return any(math.isfinite(value) for _, value in found)


@pytest.fixture
def world(sidelock, start, folder):
    old = new_key()
    moment = "2020-01-01T00:00:00Z"
    lines = {
        "shop": f'created = {moment}\nprevious = {{ digest = "{digest(old)}", until = 2999-01-01T00:00:00Z }}',
        "bank": f'created = {moment}\nexpires = 2999-01-01T00:00:00Z\nallow_from = ["198.51.100.0/24"]',
        "slow": 'rate = "1/min burst 1"',
        "ended": "revoked = true",
        "watched": 'mode = "observe"',
    }
    keys = {title: ["read"] for title in lines} | {"decoy": []}
    lines["decoy"] = "decoy = true"
    # Nobody is told to wait: the refusals themselves are wanted.
    rest = '[limits]\nper_address_failures = "1000/s"\n[ban]\nafter = "2/10min"\nfor = "1s"\n'
    rest += '[[webhook]]\nname = "failing"\npath = "/failing"\nheader = "x-partner-token"\nsecrets = ["file:hook"]\n'
    with serving(Crm) as crm, serving(BotApi) as api:
        gateway = sidelock(
            crm, config=sections(api) + rest, server="address_labels = true", secrets=SECRETS, keys=keys, lines=lines
        )
        load = Load(gateway, old, pause=0.3)
        load.start()
        yield Prometheus(start, folder, gateway), load
        load.over.set()
        load.join(PATIENCE)
        assert load.failed is None


def test_every_panel_finds_something(world):
    prometheus, load = world
    wanted = {}
    for param in targets():
        wanted[param.id] = param.values[1]
    empty = {name for name in wanted if name.split(": ", 1)[1] in EMPTY}
    missing = {name: target for name, target in wanted.items() if name not in empty}

    def all_there():
        assert load.failed is None, load.failed
        for name, target in list(missing.items()):
            found = prometheus.ask(filled(target["expr"]))
            if is_something(found):
                shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                assert shown <= set().union(*(labels for labels, _ in found)), f"{name}: a legend shows nothing"
                del missing[name]
        return not missing

    try:
        # The last comes after a minute: the past of refused credentials leaves out the newest hour.
        wait_for("data in every panel", all_there, patience=150)
    finally:
        assert not missing, f"empty: {sorted(missing)}"
    for name in empty:
        assert not is_something(prometheus.ask(filled(wanted[name]["expr"]))), f"{name} is not empty any more"
