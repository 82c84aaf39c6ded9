"""A real ticket desk behind the gateway, used over its own API. Only the gateway holds the desk's password."""

import base64
import sys

import httpx
import pytest

from conftest import HERE, PATIENCE, ROOT, free_port, wait_for

PASSWORD = "the desk's own password"
BASIC = base64.b64encode(f"gateway:{PASSWORD}".encode()).decode()
TICKET = {
    "queue": 1,
    "priority": 3,
    "title": "Printer on fire",
    "description": "Third floor",
    "submitter_email": "ada@example.org",
}

SET_UP = f"""
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth import get_user_model
from helpdesk.models import Queue
get_user_model().objects.create_superuser("gateway", "gateway@example.org", {PASSWORD!r})
Queue.objects.create(title="Support", slug="support")
"""


class Desk:
    """The ticket desk, asked without the gateway."""

    def __init__(self, url):
        self.url = url

    def titles(self):
        answer = httpx.get(
            f"{self.url}/api/tickets/", auth=("gateway", PASSWORD), trust_env=False, timeout=PATIENCE
        )
        return [ticket["title"] for ticket in answer.raise_for_status().json()["results"]]


@pytest.fixture(scope="module")
def desk(start, folder):
    env = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(HERE / "crm"), "CRM_FOLDER": str(folder)}
    set_up = start("crm-set-up", [sys.executable, "-c", SET_UP], env)
    assert set_up.process.wait(PATIENCE * 4) == 0, set_up.log()
    port = free_port()
    server = start("crm", [sys.executable, "-m", "django", "runserver", "--noreload", f"127.0.0.1:{port}"], env)
    server.wait_for_answer(f"http://127.0.0.1:{port}/login/")
    return Desk(f"http://127.0.0.1:{port}")


@pytest.fixture
def gateway(sidelock, desk):
    return sidelock(
        desk.url,
        upstream_keys='crm = "django-helpdesk"\npublic = true\ncredential = { secret = "file:crm-basic" }',
        secrets={"crm-basic": f"gateway:{PASSWORD}"},
        # Far too wide, as people write scopes in a hurry.
        config='[scopes.everything]\nallow = ["ANY /**"]\n',
        keys={
            "reader": ["read_messages"],
            "writer": ["read_messages", "send_messages", "manage_tickets"],
            "wide": ["everything"],
        },
    )


def test_a_ticket_is_created_read_and_changed(gateway, desk):
    created = gateway.call("POST", "/api/tickets/", "writer", json=TICKET)
    assert created.status_code == 201, created.text
    path = f"/api/tickets/{created.json()['id']}/"
    read = gateway.call("GET", path, "reader")
    assert (read.status_code, read.json()["title"]) == (200, TICKET["title"])
    assert TICKET["title"] in desk.titles()
    changed = gateway.call("PATCH", path, "writer", json={"title": "Printer is out"})
    assert changed.status_code == 200, changed.text
    assert "Printer is out" in desk.titles()


def test_a_file_is_attached_unharmed(gateway, desk, folder):
    ticket = gateway.call("POST", "/api/tickets/", "writer", json=TICKET).json()["id"]
    photo = bytes(range(256)) * 1024
    comment = {"ticket": ticket, "title": "Photo", "comment": "See the smoke", "public": "true"}
    uploaded = gateway.call(
        "POST", "/api/followups/", "writer", data=comment, files={"attachments": ("fire.png", photo, "image/png")}
    )
    assert uploaded.status_code == 201, uploaded.text
    stored = [path.read_bytes() for path in (folder / "media").rglob("fire*.png")]
    assert stored == [photo]


def test_a_revoked_key_is_refused_and_no_other(gateway):
    assert gateway.call("GET", "/api/tickets/", "reader").status_code == 200
    file = gateway.folder / "keys.toml"
    file.write_text(file.read_text().replace('title = "reader"\n', 'title = "reader"\nrevoked = true\n'))
    wait_for("refusal", lambda: gateway.call("GET", "/api/tickets/", "reader").status_code == 401)
    assert gateway.call("GET", "/api/tickets/", "writer").status_code == 200


def test_a_read_only_key_cannot_write(gateway, desk):
    before = desk.titles()
    refused = gateway.call("POST", "/api/tickets/", "reader", json={**TICKET, "title": "Not allowed"})
    assert refused.status_code == 403, refused.text
    assert desk.titles() == before


def test_what_no_scope_names_is_refused_for_every_key(gateway):
    assert gateway.call("GET", "/api/users/", "writer").status_code == 403
    assert gateway.call("DELETE", "/api/tickets/1/", "writer").status_code == 403


def test_no_key_makes_an_account_however_wide_its_scope(gateway, desk):
    assert gateway.call("GET", "/api/followups/", "wide").status_code == 200
    account = {"username": "mallory", "password": "correct horse", "email": "m@example.org"}
    for path in ["/api/users/", "/api/users.json"]:
        # The desk itself knows both spellings.
        assert httpx.options(f"{desk.url}{path}", auth=("gateway", PASSWORD), trust_env=False).status_code == 200
    for path in ["/api/users/", "/api/users.json", "/api/users", "/API/Users/", "/admin/", "/password_change/"]:
        refused = gateway.call("POST", path, "wide", json=account)
        assert refused.status_code == 403 and "never-allowed" in refused.text, f"{path}: {refused.text}"


def test_what_the_pack_names_is_there(desk):
    """Every route that a scope of the pack stands for is one that the desk has."""
    routes = (ROOT / "tests/it/packs/django-helpdesk.txt").read_text().splitlines()
    routes = [line.split(" ") for line in routes if line and not line.startswith("#")]
    named = {path for _, path, expected in routes if expected not in ("never", "nothing")}
    assert len(named) > 10
    status = lambda path: httpx.options(
        f"{desk.url}{path}", auth=("gateway", PASSWORD), trust_env=False, timeout=PATIENCE
    ).status_code
    assert status("/api/nonsense/") == 404
    assert [path for path in sorted(named) if status(path) == 404] == []


def test_the_generic_pack_fits_too(sidelock, desk):
    gateway = sidelock(
        desk.url,
        upstream_keys='crm = "generic"\n'
        'credential = { header = "Authorization", prefix = "Basic ", secret = "file:crm-basic" }',
        secrets={"crm-basic": BASIC},
        keys={"reader": ["read_messages"], "writer": ["read_messages", "manage_tickets"]},
    )
    created = gateway.call("POST", "/api/tickets/", "writer", json={**TICKET, "title": "By any name"})
    assert created.status_code == 201, created.text
    path = f"/api/tickets/{created.json()['id']}/"
    assert gateway.call("GET", path, "reader").json()["title"] == "By any name"
    assert gateway.call("PATCH", path, "reader", json={"title": "No"}).status_code == 403
    assert gateway.call("PATCH", path, "writer", json={"title": "Changed"}).status_code == 200
    assert "never-allowed" in gateway.call("POST", "/api/users/", "writer", json={}).text
    assert gateway.call("GET", "/login/").status_code == 401


def test_without_a_key_nothing_reaches_the_api(gateway, desk):
    before = desk.titles()
    nobody = gateway.call("POST", "/api/tickets/", json={**TICKET, "title": "Anonymous"})
    assert nobody.status_code == 401
    assert gateway.call("GET", "/api/tickets/").status_code == 401
    # The desk's own password is no key, even if someone has it.
    insider = gateway.call("GET", "/api/tickets/", headers={"Authorization": f"Basic {BASIC}"})
    assert insider.status_code == 401
    assert desk.titles() == before


def test_people_log_in_at_the_desk_itself(gateway):
    """A public route reaches the desk as a stranger: the gateway's own credential stays out of it."""
    page = gateway.call("GET", "/login/")
    assert page.status_code == 200 and "csrfmiddlewaretoken" in page.text
    queue = gateway.call("GET", "/tickets/")
    assert queue.status_code == 302 and "/login/" in queue.headers["location"]


def test_the_desks_credential_is_nowhere_to_be_read(gateway):
    answers = [
        gateway.call("GET", "/api/tickets/", "reader"),
        gateway.call("GET", "/api/tickets/"),
        gateway.call("GET", "/login/"),
        httpx.get(f"{gateway.admin}/metrics", trust_env=False),
    ]
    record = gateway.folder / "state" / "access.ndjson"
    lines = lambda: record.read_text() if record.exists() else ""
    wait_for("line for each request in the record", lambda: lines().count("\n") >= 3)
    for text in [*(f"{answer.headers}{answer.text}" for answer in answers), lines(), gateway.log()]:
        assert BASIC not in text
        assert not any(key in text for key in gateway.keys.values())
