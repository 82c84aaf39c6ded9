"""The faults: what is changed, broken, killed and cut while the load goes on, in an order that the seed decides.

Each tells the ledger what it did and when, so that the answers of that time are judged by it. They come one after the other:
two edits at once would be two people's, and what is right then could not be said.
"""

import asyncio
import re
import signal
import socket
import ssl
import struct
import time
from collections import Counter

from gateway import Failed, block, key_id_of, new_key, until
from ledger import IN_FORCE, Switch
from load import Credential, World

#: After the CRM is back, its trouble may show for so long: an address that was put out is tried again ever more seldom.
SETTLE = 3.0


class Faults:
    def __init__(self, world: World, certificates: list[tuple[str, str]]) -> None:
        self.world, self.random = world, world.random
        self.gateway, self.ledger = world.gateway, world.ledger
        self.certificates = certificates
        self.certificate = 0
        self.opened = False
        self.made = Counter()
        self.numbers = 0

    def deck(self) -> list:
        """Every kind, in a new order; the rest of a run is made of such decks."""
        kinds = [
            self.key_created, self.key_created, self.key_rotated, self.key_rotated_with_overlap, self.key_revoked,
            self.key_revoked_by_hand, self.key_deleted_by_hand, self.key_added_by_hand, self.keys_pruned, self.keys_broken,
            self.scope_changed,
            self.configuration_broken, self.hang_up, self.certificate_changed, self.crm_killed, self.crm_frozen,
            self.crm_closes_idle, self.clients_cut,
        ]
        self.random.shuffle(kinds)
        return kinds

    async def run(self, deadline: float, changes_of_process: list = ()) -> None:
        """Deals until the time is over, at least one deck; `changes_of_process` are shuffled into the first."""
        deck = self.deck() + list(changes_of_process)
        self.random.shuffle(deck)
        first = True
        while first or time.monotonic() < deadline:
            for fault in deck:
                if not first and time.monotonic() >= deadline:
                    break
                await self.make(fault)
                await asyncio.sleep(self.random.uniform(0.1, 0.8))
            first, deck = False, self.deck()

    async def make(self, fault) -> None:
        begun = time.monotonic()
        try:
            await fault()
        except Failed as failed:
            raise Failed(f"{fault.__name__}: {failed}") from failed
        self.made[fault.__name__.replace("_", " ")] += 1
        with (self.gateway.folder / "faults.log").open("a") as log:
            log.write(f"{begun:.3f} to {time.monotonic():.3f} {fault.__name__}\n")

    # Keys

    def pool(self) -> list[Credential]:
        return [one for one in self.world.credentials if not one.steady and one.valid.now()]

    def add(self, key: str, begun: float) -> Credential:
        one = Credential(key_id_of(key), key, Switch(False))
        one.valid.change(begun, time.monotonic(), True)
        self.world.credentials.append(one)
        self.world.recent = one
        return one

    def over(self, one: Credential, begun: float) -> None:
        one.valid.change(begun, time.monotonic(), False)
        self.world.recent = one

    async def some_key(self) -> Credential:
        if len(self.pool()) < 2:
            await self.key_created()
        return self.random.choice(self.pool())

    def title(self) -> str:
        self.numbers += 1
        return f"pool {self.numbers}"

    async def key_created(self) -> None:
        begun = time.monotonic()
        key = await self.gateway.command("keys", "create", "--title", self.title(), "--scope", "read", "--scope", "write")
        self.add(key.strip(), begun)

    async def key_added_by_hand(self) -> None:
        key_id, key = new_key()
        begun = time.monotonic()
        self.gateway.write("keys.toml", self.gateway.key_file.read_text() + block(key_id, key, ["read", "write"]))
        self.add(key, begun)

    async def key_rotated(self) -> None:
        await self.rotate("0")

    async def key_rotated_with_overlap(self) -> None:
        await self.rotate("1h")

    async def rotate(self, overlap: str) -> None:
        key_id = (await self.some_key()).id
        begun = time.monotonic()
        key = await self.gateway.command("keys", "rotate", key_id, "--force", "--overlap", overlap)
        # The newest secret becomes the old one, for as long as it overlaps; what was older still is over.
        *older, newest = [one for one in self.world.credentials if one.id == key_id]
        for one in [*older, newest] if overlap == "0" else older:
            if one.valid.now():
                self.over(one, begun)
        self.add(key.strip(), begun)

    def all_over(self, key_id: str, begun: float) -> None:
        for one in self.world.credentials:
            if one.id == key_id and one.valid.now():
                self.over(one, begun)

    async def key_revoked(self) -> None:
        one, begun = await self.some_key(), time.monotonic()
        await self.gateway.command("keys", "revoke", one.id, "--reason", "soak")
        self.all_over(one.id, begun)

    async def key_revoked_by_hand(self) -> None:
        one = await self.some_key()
        text = self.gateway.key_file.read_text()
        begun = time.monotonic()
        # As some editors save: the same file, written over.
        self.gateway.key_file.write_text(text.replace(f'id = "{one.id}"', f'id = "{one.id}"\nrevoked = true'))
        self.all_over(one.id, begun)

    async def key_deleted_by_hand(self) -> None:
        one = await self.some_key()
        text = self.gateway.key_file.read_text()
        blocks = re.split(r"(?m)^(?=\[\[key\]\])", text)
        begun = time.monotonic()
        self.gateway.write("keys.toml", "".join(it for it in blocks if f'id = "{one.id}"' not in it))
        self.all_over(one.id, begun)
        # It counts once the files have been good and still for half a second, so nothing else is edited meanwhile.
        await until("a deleted key is gone", lambda: f'key="{one.id}"' not in self.gateway.ask("/metrics"), IN_FORCE)

    async def keys_pruned(self) -> None:
        """What has been revoked goes; it was refused before, and is afterwards."""
        await self.gateway.command("keys", "prune", "--older-than", "1s")

    async def keys_broken(self) -> None:
        """A broken file is saved, with a key that nobody may have; nothing of it may be in force, then or later."""
        await asyncio.sleep(IN_FORCE / 2)  # What was edited before has its second to be in force.
        good = self.gateway.key_file.read_text()
        never = block(self.world.never.id, self.world.never.key, ["read", "write"])
        some = good.index("[[key]]")
        broken = self.random.choice([
            good + never + "\n[[key", good + never + 'surprise = "x"\n', good + never + never, never, "", good[:some + 40],
            good + never + block("x", "x", ["no_such_scope"]),
        ])
        self.gateway.write("keys.toml", broken)
        await self.broken_for_a_while(lambda: self.gateway.write("keys.toml", good))

    async def broken_for_a_while(self, mend) -> None:
        await until("a broken file is noticed", lambda: self.reloaded() == 0)
        await asyncio.sleep(self.random.uniform(0.3, 1.0))
        mend()
        await until("the mended file is taken", lambda: self.reloaded() == 1)

    def reloaded(self) -> float:
        """1 if what is on disk is in force."""
        return metric(self.gateway.ask("/metrics"), "sidelock_last_reload_successful")

    # Configuration

    async def scope_changed(self) -> None:
        self.opened = not self.opened
        begun = time.monotonic()
        self.gateway.write("sidelock.toml", self.gateway.configuration(self.opened))
        self.world.reports.change(begun, time.monotonic(), self.opened)

    async def configuration_broken(self) -> None:
        await asyncio.sleep(IN_FORCE / 2)
        good = self.gateway.config_file.read_text()
        opened = self.gateway.configuration(True)
        self.gateway.write("sidelock.toml", opened + self.random.choice(["\nsurprise = 1\n", "\n[[webhook", "\n[limits]\n"]))
        await self.broken_for_a_while(lambda: self.gateway.write("sidelock.toml", good))

    async def hang_up(self) -> None:
        self.gateway.signal(signal.SIGHUP)

    async def certificate_changed(self) -> None:
        self.certificate = (self.certificate + 1) % len(self.certificates)
        chain, key = self.certificates[self.certificate]
        self.gateway.write("key.pem", key)
        self.gateway.write("cert.pem", chain)
        wanted = ssl.PEM_cert_to_DER_cert(chain)
        # A second or so; five, because nothing else waits for it on a busy machine.
        await until("the new certificate", lambda: self.shown() == wanted, 5)

    def shown(self) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.gateway.tls), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname="gate.example") as tls:
                return tls.getpeercert(binary_form=True)

    # The CRM

    async def crm_killed(self) -> None:
        self.ledger.crm_trouble.open(time.monotonic())
        await self.world.crm.kill()
        await asyncio.sleep(self.random.uniform(0.1, 0.8))
        await self.world.crm.start()
        self.ledger.crm_trouble.close(time.monotonic() + SETTLE)

    async def crm_frozen(self) -> None:
        """For a second: late answers, but answers."""
        self.world.crm.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1)
        self.world.crm.process.send_signal(signal.SIGCONT)

    async def crm_closes_idle(self) -> None:
        """All at once, and unsaid: a request that is written at that moment may be answered 502, but is never sent twice."""
        self.ledger.crm_trouble.open(time.monotonic())
        await self.world.crm.close_idle()
        self.ledger.crm_trouble.close(time.monotonic() + 0.3)

    # Clients

    async def clients_cut(self) -> None:
        """Connections that end in the middle of everything: nothing, half a handshake, half a head, half a body."""
        one = next(it for it in self.world.credentials if it.steady)
        head = f"POST /api/messages HTTP/1.1\r\nHost: gate.example\r\nX-API-Key: {one.key}\r\nContent-Length: 1000\r\n\r\n"
        gate = self.gateway
        for port, data in [
            (gate.http, b""), (gate.tls, b"\x16\x03\x01\x02\x00\x01"), (gate.http, head[:60].encode()),
            (gate.http, head.encode() + b"x" * 500), (gate.h2c, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ] * 3:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", self.random.randrange(2), 0))
                connection.sendall(data)
            self.ledger.strays += 1
            await asyncio.sleep(0.005)

    # The process

    async def restarted(self) -> None:
        self.ledger.restarting.open(time.monotonic())
        await self.gateway.restart()
        self.ledger.restarting.close(time.monotonic() + 0.2)

    async def upgraded(self) -> None:
        self.ledger.restarting.open(time.monotonic())
        old = self.gateway.pid
        await self.gateway.upgrade(by_signal=self.random.random() < 0.5)
        await until("end of the old process", lambda: not self.gateway.is_running(old))
        self.ledger.restarting.close(time.monotonic() + 0.2)

    async def upgraded_and_revoked(self) -> None:
        """While both processes are there: what is open in the old one ends with its key just the same."""
        self.ledger.restarting.open(time.monotonic())
        old = self.gateway.pid
        await self.gateway.upgrade(by_signal=False)
        await self.key_revoked()
        await until("end of the old process", lambda: not self.gateway.is_running(old))
        self.ledger.restarting.close(time.monotonic() + 0.2)

    async def upgrade_refused(self) -> None:
        """A new process that cannot start changes nothing, whatever tells it to."""
        await asyncio.sleep(IN_FORCE / 2)
        good, old = self.gateway.config_file.read_text(), self.gateway.pid
        self.gateway.write("sidelock.toml", good + "\nsurprise = 1\n")
        try:
            await self.gateway.upgrade(by_signal=False)
        except Failed:
            pass
        else:
            raise Failed("an upgrade to a broken configuration went well")
        finally:
            self.gateway.write("sidelock.toml", good)
        if not self.gateway.is_running(old):
            raise Failed("the old process ended at an upgrade that failed")
        await until("the mended file is taken", lambda: self.reloaded() == 1)


def metric(page: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.M)
    return float(found[1]) if found else float("nan")
