"""The load: what is sent, how often, over which connections, and what its answer must be."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import ssl
import time
from collections import deque
from dataclasses import dataclass, field

from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from clients import PATIENCE, Answer, Http1, Http2, Request
from crm import content
from gateway import HOOK_SECRET, TELEGRAM_SECRET, Crm, Gateway
from ledger import BROKEN_OFF, CUT, NO_ANSWER, NO_CONNECTION, Ledger, Send, Switch

#: Shares of what is sent. Kinds that only HTTP/1.1 can carry are sent by those connections alone.
WEIGHTS = {
    "read": 30, "read slowly": 3, "write": 9, "change": 3, "upload": 4, "upload in chunks": 4, "download": 5, "public": 3,
    "wrong scope": 4, "scope that comes and goes": 5, "unknown key": 4, "no key": 2, "two credentials": 2, "ambiguous path": 2,
    "two lengths": 1, "over the rate": 4, "webhook": 9, "webhook again": 4, "webhook forged": 3, "telegram": 4,
    "telegram again": 2, "telegram forged": 1, "crm resets": 1, "crm hangs": 0.15, "crm fails": 2, "crm says close": 3,
    "cut upload": 2, "cut answer": 2,
}
#: What a restart and an upgrade are judged by: nothing that breaks by itself.
STEADY = ("read", "read slowly", "write", "change", "upload", "upload in chunks", "download", "public", "wrong scope",
          "unknown key", "no key", "webhook", "webhook forged", "telegram")
ONLY_HTTP1 = {"two lengths", "cut answer"}
RATE = (20, 5)  # A minute, and at once.


@dataclass
class Credential:
    """A secret of a key, and when it was good."""

    id: str
    key: str
    valid: Switch
    #: Good for the whole run.
    steady: bool = False
    rotated_from: "Credential | None" = None


@dataclass
class World:
    """Everything that the load and the faults share."""

    gateway: Gateway
    crm: Crm
    ledger: Ledger
    random: random.Random
    rate: float
    kinds: dict[str, float]
    credentials: list[Credential] = field(default_factory=list)
    #: The one that changed last: asked for more often than others.
    recent: Credential | None = None
    never: Credential | None = None
    limited: Credential | None = None
    reports: Switch = field(default_factory=lambda: Switch(False))
    #: Deliveries that were taken, with who remembers them.
    taken: dict[str, deque] = field(default_factory=lambda: {"webhook": deque(maxlen=50), "telegram": deque(maxlen=50)})
    going: asyncio.Event = field(default_factory=asyncio.Event)
    active: int = 0
    next_slot: float = 0.0
    clients: list = field(default_factory=list)

    def credential(self) -> Credential:
        """Mostly a good one; the one that changed last, and those that are over, now and then."""
        roll = self.random.random()
        if self.recent and roll < 0.2:
            return self.recent
        good = [one for one in self.credentials if one.valid.now()]
        over = [one for one in self.credentials if not one.valid.now()]
        return self.random.choice(over if over and roll > 0.93 else good)

    async def slot(self) -> None:
        """Waits until the next request is due."""
        now = time.monotonic()
        due = max(now, self.next_slot)
        self.next_slot = due + self.random.uniform(0.5, 1.5) / self.rate
        await asyncio.sleep(due - now)
        await self.going.wait()

    async def pause(self) -> None:
        """No more requests; waits until those under way have ended, and closes all connections."""
        self.going.clear()
        while self.active:
            await asyncio.sleep(0.02)
        for client in self.clients:
            client.close()


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def with_key(world: World, key: str) -> tuple[str, str]:
    return ("X-API-Key", key) if world.random.random() < 0.5 else ("Authorization", f"Bearer {key}")


def signed(number: str, body: bytes, forged: bool = False) -> list[tuple[str, str]]:
    """The headers of a Standard Webhooks delivery."""
    stamp = str(int(time.time()))
    key = base64.b64decode(HOOK_SECRET.removeprefix("whsec_"))
    mac = hmac.new(key[::-1] if forged else key, f"{number}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return [("webhook-id", number), ("webhook-timestamp", stamp), ("webhook-signature", f"v1,{base64.b64encode(mac).decode()}")]


def plan(world: World, kind: str) -> tuple[Send, Request, dict] | None:
    """A send with what is right for it, the request, and how it is cut."""
    if kind.startswith(("webhook", "telegram")):
        return plan_delivery(world, kind)
    if kind in ("unknown key", "no key", "two credentials", "ambiguous path", "two lengths", "public", "over the rate"):
        return plan_odd(world, kind)
    return plan_with_key(world, kind)


def plan_with_key(world: World, kind: str) -> tuple[Send, Request, dict]:
    one = world.credential()
    send = world.ledger.new(kind=kind, wire="", allowed={200}, refused={401}, switches=[(one.valid, True)], key=one.id)
    number = int(send.ref[1:])
    headers = [with_key(world, one.key), ("X-Soak-Ref", send.ref)]
    request, cut, do = Request("GET", f"/api/messages/{number}?page=1", headers), {}, ""
    size = world.random.choice([10, 2_000, 50_000, 300_000])
    match kind:
        case "read slowly":
            do = f"slow={world.random.choice([100, 400, 1200])}"
        case "write":
            request = Request("POST", "/api/messages", headers, json.dumps({"text": send.ref}).encode())
        case "change":
            request = Request("PATCH", f"/api/tickets/{number}", headers, b'{"state":"open"}')
        case "upload" | "cut upload":
            request = Request("POST", "/api/messages", headers, content(send.ref, size))
        case "upload in chunks":
            body = content(send.ref, size)
            request = Request("POST", "/api/messages", headers, parts=[body[at:at + 4000] for at in range(0, len(body), 4000)])
        case "download" | "cut answer":
            do = f"down={size if kind == 'download' else 300_000}" + ("&chunked=1" if number % 2 else "")
        case "wrong scope":
            request.path, send.allowed, send.executes = f"/api/other/{number}", {403}, False
        case "scope that comes and goes":
            request.path = f"/api/reports/{number}"
            send.switches.append((world.reports, True))
            send.refused = {401, 403}
        case "crm resets":
            do, send.allowed = "reset=1", {502}
        case "crm hangs":
            do, send.allowed = "hang=1", {504}
        case "crm fails":
            do, send.allowed = "status=500 Failed", {500}
        case "crm says close":
            do = "goodbye=1"
        case "stream":
            do = "drip=30"
    if kind == "cut upload":
        cut = {"cut_after": world.random.randrange(1, 200 + len(request.body))}
    if kind == "cut answer":
        cut = {"cut_answer": world.random.randrange(1, 200_000)}
    if do:
        headers.append(("X-Soak-Do", do))
    send.digest = sha(b"".join(request.parts) if request.parts is not None else request.body)
    return send, request, cut


def plan_odd(world: World, kind: str) -> tuple[Send, Request, dict]:
    """What is judged without a key that comes and goes."""
    one = world.random.choice([it for it in world.credentials if it.steady])
    send = world.ledger.new(kind=kind, wire="", allowed={401}, executes=False)
    headers = [("X-Soak-Ref", send.ref)]
    request, both = Request("GET", "/api/messages/1", headers), with_key(world, one.key)
    match kind:
        case "unknown key":
            wrong = world.never.key if world.random.random() < 0.5 else one.key[:-8] + "00000000"
            headers.append(with_key(world, wrong))
        case "two credentials":
            headers += [("X-API-Key", one.key), ("Authorization", f"Bearer {one.key}")]
            send.allowed = {400}
        case "ambiguous path":
            request.path = world.random.choice([
                "/api/messages/../other/1", "/api/messages/%2e%2e/x", "/api//messages", "/front/..;/api"])
            headers.append(both)
            send.allowed = {400}
        case "two lengths":
            request.raw = (
                f"POST /api/messages HTTP/1.1\r\nHost: gate.example\r\n{both[0]}: {both[1]}\r\n"
                f"X-Soak-Ref: {send.ref}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n" + "{}\n").encode()
            send.allowed = {400}
        case "public":
            request.path, send.allowed, send.executes, send.digest = f"/front/{send.ref}", {200}, True, sha(b"")
        case "over the rate":
            headers.append(with_key(world, world.limited.key))
            send.allowed, send.executes, send.digest = {200, 429}, True, sha(b"")
    return send, request, {}


def plan_delivery(world: World, kind: str) -> tuple[Send, Request, dict] | None:
    name, _, how = kind.partition(" ")
    forged, again = how == "forged", how == "again"
    old = None
    if again:
        # A restart forgets; an upgrade does not.
        known = [it for it in world.taken[name] if it[0] == world.gateway.memory]
        if not known or world.ledger.restarting.touch(time.monotonic(), time.monotonic()):
            return None
        old = world.random.choice(known)
    send = world.ledger.new(kind=kind, wire="", allowed={401} if forged else {200}, executes=not forged and not again,
                            once=old[1] if old else "")
    number = old[1] if old else send.ref
    if name == "webhook":
        body = json.dumps({"type": "ticket.created", "number": number}).encode()
        request = Request("POST", "/hooks/standard", signed(number, body, forged), body)
    else:
        update = int(number[1:])
        person = {"id": 1, "is_bot": False, "first_name": "A"}
        body = json.dumps({"update_id": update, "message": {"message_id": update, "date": 1, "chat": {"id": 1, "type": "private"},
                                                            "from": person, "text": "hello"}}).encode()
        secret = TELEGRAM_SECRET[::-1] if forged else TELEGRAM_SECRET
        request = Request("POST", "/hooks/telegram", [("X-Telegram-Bot-Api-Secret-Token", secret)], body)
    request.headers += [("X-Soak-Ref", send.ref), ("Content-Type", "application/json")]
    send.digest = sha(body)
    return send, request, {}


def check_answer(send: Send, answer: Answer | None) -> str:
    """What is wrong with the content of an answer of the CRM's."""
    if not answer or send.outcome != 200 or not send.executes or send.kind == "stream":
        return ""
    if send.kind == "download":
        return "" if answer.body == content(send.ref, len(answer.body)) and answer.body else "another content came"
    told = json.loads(answer.body)
    return "" if told == {"ref": send.ref, "digest": send.digest} else f"the answer is another one's: {told['ref']}"


async def work(world: World, client: Http1 | Http2, keep: bool) -> None:
    """One request after the other over one client."""
    kinds = {kind: weight for kind, weight in world.kinds.items() if kind not in ONLY_HTTP1 or isinstance(client, Http1)}
    names, weights = list(kinds), list(kinds.values())
    while True:
        await world.slot()
        planned = plan(world, world.random.choices(names, weights)[0])
        if not planned:
            continue
        send, request, cut = planned
        memory = world.gateway.memory
        world.active += 1
        try:
            answer = await client.send(send, request, keep, **cut)
        finally:
            world.active -= 1
        send.fault = check_answer(send, answer) or send.fault
        # What the old process takes while the new one is there already, only the old one remembers.
        if send.kind in world.taken and send.outcome == 200 and not world.ledger.restarting.touch(send.start, send.end):
            world.taken[send.kind].append((memory, send.once))


async def follow_streams(world: World, client: Http1) -> None:
    """Event streams of three seconds, which end with their key."""
    while True:
        await world.slot()
        send, request, _ = plan(world, "stream")
        world.active += 1
        try:
            await client.send(send, request)
        finally:
            world.active -= 1
        [(valid, _)] = send.switches
        if send.outcome in (200, BROKEN_OFF) and valid.within(send.end, send.end) == {False}:
            world.ledger.wrong_otherwise.append(f"{send.ref}: a stream went on until {send.end:.3f}, after its key had ended")


async def talk(world: World) -> None:
    """WebSockets: messages that come back, until it is enough, the key is over or the process ends."""
    while True:
        await world.slot()
        one = world.credential()
        send = world.ledger.new(kind="websocket", wire="websocket", allowed={101}, refused={401}, switches=[(one.valid, True)],
                                key=one.id, digest="websocket")
        world.active += 1
        try:
            await one_conversation(world, one, send)
        finally:
            world.active -= 1


async def one_conversation(world: World, one: Credential, send: Send) -> None:
    send.start = time.monotonic()
    try:
        async with connect_websocket(
                f"ws://127.0.0.1:{world.gateway.http}/api/messages/ws", proxy=None, open_timeout=PATIENCE, ping_interval=None,
                close_timeout=2, additional_headers={"X-API-Key": one.key, "X-Soak-Ref": send.ref}) as socket:
            send.end, send.outcome, send.whole = time.monotonic(), 101, True
            send.request_id = socket.response.headers.get("x-request-id", "")
            await chat(world, one, send, socket)
    except InvalidStatus as refused:
        send.outcome, send.request_id = refused.response.status_code, refused.response.headers.get("x-request-id", "")
    except ConnectionRefusedError as error:
        send.outcome, send.fault = NO_CONNECTION, repr(error)
    except (OSError, InvalidHandshake, EOFError, TimeoutError):
        if send.outcome is None:
            send.outcome = NO_ANSWER
    finally:
        send.end = send.end or time.monotonic()
        if send.outcome is None:
            send.outcome = CUT


async def chat(world: World, one: Credential, send: Send, socket) -> None:
    for number in range(world.random.randrange(5, 25)):
        if not world.going.is_set():
            return
        message, sent = f"{send.ref}-{number}", time.monotonic()
        try:
            await socket.send(message)
            heard = await asyncio.wait_for(socket.recv(), PATIENCE)
        except (ConnectionClosed, TimeoutError) as error:
            world.ledger.cut_tunnels.append((send, time.monotonic(), one.valid, repr(error)))
            return
        if heard != message:
            world.ledger.wrong_otherwise.append(f"{send.ref}: a WebSocket heard {heard!r} instead of {message!r}")
        if one.valid.within(sent, sent) == {False}:
            world.ledger.wrong_otherwise.append(f"{send.ref}: a WebSocket went on at {sent:.3f}, after its key had ended")
        await asyncio.sleep(0.2)


def start(world: World, everything: bool) -> list[asyncio.Task]:
    """All workers, which wait until the world is going."""
    tls, tls2 = ssl.create_default_context(), ssl.create_default_context()
    for context, protocol in ((tls, "http/1.1"), (tls2, "h2")):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([protocol])
    gate = world.gateway
    kept = [Http1(gate.http) for _ in range(8)] + [Http1(gate.tls, tls) for _ in range(3)]
    single = [Http1(gate.http) for _ in range(3)] + [Http1(gate.tls, tls)]
    side_by_side = [Http2(gate.tls, tls2)] * 3 + [Http2(gate.h2c)] * 3
    world.clients = kept + single + side_by_side
    work_to_do = [work(world, client, True) for client in kept + side_by_side] + [work(world, client, False) for client in single]
    if everything:
        streaming = [Http1(gate.http) for _ in range(2)]
        world.clients += streaming
        work_to_do += [follow_streams(world, client) for client in streaming] + [talk(world) for _ in range(4)]
    return [asyncio.create_task(one) for one in work_to_do]
