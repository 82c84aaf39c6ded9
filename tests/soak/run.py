#!/usr/bin/env python3
"""The soak and fault test: mixed load against the real binary while everything around it changes and breaks.

    tests/soak/run.py --minutes 3 --seed 7          faults of every kind; the process is restarted and upgraded in the first half
    tests/soak/run.py --restarts 100                steady load, and nothing but restarts; a request that fails is lost
    tests/soak/run.py --upgrades 20                 the same with upgrades
    tests/soak/run.py --self-test                   falsified runs: what is lost, doubled and wrong must be noticed

Needs the packages of tests/real/requirements.txt (tests/run.sh installs them under target/venv). Exits with 1 if a request was
lost, executed twice or decided wrongly, or if memory, descriptors, metrics or access log are not as they must be.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import load
import selftest
import watch
from faults import Faults
from gateway import ROOT, Crm, Failed, Gateway, block, end_on_sigterm, make_certificates, new_key, until
from ledger import Ledger, Switch, judge
from load import RATE, STEADY, WEIGHTS, Credential, World

def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; default: any, and it is printed")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--upgrades", type=int, default=0)
    parser.add_argument("--plain", action="store_true",
                        help="hold no sockets over a restart: connections are refused meanwhile; and no upgrades")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--json", action="store_true", help="the closing figures as JSON on stdout")
    parser.add_argument("--binary", default=os.environ.get("SIDELOCK_BIN", "target/debug/sidelock"))
    parser.add_argument("--keep", action="store_true", help="leave the folder of the run, and say where it is")
    given = parser.parse_args()
    given.seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    given.binary = (ROOT / given.binary).resolve()
    if not os.access(given.binary, os.X_OK):
        raise SystemExit(f"{given.binary} is missing; build it with: cargo build")
    return given


def keys_for(world: World) -> str:
    """The first keys: some that are good throughout, some that will not be, one with a rate."""
    text = "# Keys of the soak test.\n"
    for number in range(10):
        key_id, key = new_key()
        world.credentials.append(Credential(key_id, key, Switch(True), steady=number < 4))
        text += block(key_id, key, ["read", "write"])
    [world.never, world.limited] = [Credential(*new_key(), Switch(good)) for good in (False, True)]
    per_minute, burst = RATE
    return text + block(world.limited.id, world.limited.key, ["read"], f'rate = "{per_minute}/min burst {burst}"')


class Run:
    """One run: a world, its load, its watch, and what is found at the end."""

    def __init__(self, given: argparse.Namespace, folder: Path, kinds: dict[str, float], held: bool = True, lie: str = "") -> None:
        self.given, self.folder = given, folder
        self.crm = Crm(folder, lie)
        self.gateway = Gateway(given.binary, folder, self.crm.port, held)
        self.world = World(self.gateway, self.crm, Ledger(), random.Random(given.seed), given.rate, kinds)
        self.watch = watch.Watch(self.gateway)
        self.found: list[str] = []
        self.tasks: list[asyncio.Task] = []
        self.figures: dict = {}
        self.pages: list[str] = []
        self.mark = self.strays = 0

    async def open(self, everything: bool) -> Faults:
        certificates = make_certificates(self.folder, 3)
        self.gateway.write("cert.pem", certificates[0][0])
        self.gateway.write("key.pem", certificates[0][1])
        self.gateway.write("keys.toml", keys_for(self.world))
        await self.crm.start()
        await self.gateway.start()
        self.tasks = load.start(self.world, everything)
        self.tasks.append(asyncio.create_task(self.watch.run()))
        return Faults(self.world, certificates)

    async def close(self) -> None:
        pending = set(self.tasks)
        while pending:
            # More than once: `wait_for` can swallow a cancellation that comes with its result.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1)
        if self.gateway.pid and self.gateway.is_running(self.gateway.pid):
            await self.gateway.end()
        self.gateway.kill()
        if self.crm.process and self.crm.process.returncode is None:
            await self.crm.kill()

    def check_tasks(self) -> None:
        """A worker that died would test nothing more."""
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception():
                raise Failed("the load broke") from task.exception()

    async def with_load(self, what) -> None:
        """Runs `what` under load, and waits until all is quiet again."""
        self.world.going.set()
        doing = asyncio.ensure_future(what)
        await asyncio.wait([doing, *self.tasks], return_when=asyncio.FIRST_COMPLETED)
        self.check_tasks()
        await doing
        await self.world.pause()
        await watch.settled(self.gateway, self.folder)

    async def count_from_here(self) -> None:
        """From now on one process, whose metrics are compared and whose memory is watched."""
        self.pages = [self.gateway.ask("/metrics")]
        self.mark, self.strays = len(self.world.ledger.sends), self.world.ledger.strays
        self.begun = time.monotonic()
        self.descriptors_at_rest = watch.look(self.gateway.pid).descriptors

    def compare(self) -> None:
        """Everything that must hold at the end."""
        ledger = self.world.ledger
        self.pages.append(self.gateway.ask("/metrics"))
        self.found += watch.compare_metrics(ledger.sends[self.mark:], *self.pages, ledger.strays - self.strays)
        self.lines = watch.read_log(self.folder)
        self.found += watch.compare_log(ledger, self.lines)
        self.findings = judge(ledger, self.crm.executions(), not self.given.plain)
        self.check_rate()
        if "panicked" in self.gateway.log():
            self.found.append("the gateway panicked:\n" + self.gateway.log()[-2000:])
        self.found += [f"the key {one.id} is in the log" for one in self.world.credentials if one.key in self.gateway.log()]

    def check_rate(self) -> None:
        """The key with a rate had no more than that, and each process may have given its burst anew."""
        sends = [send for send in self.world.ledger.sends if send.kind == "over the rate" and send.outcome == 200]
        if sends:
            per_minute, burst = RATE
            most = burst * self.gateway.generation + per_minute / 60 * (sends[-1].end - sends[0].start) + 1
            if len(sends) > most:
                self.found.append(f"{len(sends)} requests of the key with a rate passed; at most {most:.0f} may")

    def check_growth(self) -> None:
        """Memory and descriptors of the process that has been there since `count_from_here`."""
        now = time.monotonic()
        warm = self.begun + max(watch.WARM_SECONDS, (now - self.begun) / 4)
        samples = self.watch.of(self.gateway.pid, warm, now)
        (self.folder / "samples.csv").write_text(
            "".join(f"{one.at - self.begun:.1f},{one.resident},{one.descriptors}\n" for one in samples))
        figures, found = watch.growth(samples)
        self.figures |= figures
        self.found += found

    async def check_rest(self) -> None:
        """With no connection left, as many descriptors are open as before the load."""
        now = 0

        def back() -> bool:
            nonlocal now
            now = watch.look(self.gateway.pid).descriptors
            return not watch.forgotten(self.descriptors_at_rest, now)

        try:
            await until("descriptors as before the load", back, 5)
        except Failed:
            self.found += watch.forgotten(self.descriptors_at_rest, now)
        self.figures["descriptors_at_rest"] = [self.descriptors_at_rest, now]


async def soak(given: argparse.Namespace, run: Run) -> Faults:
    faults = await run.open(everything=True)
    half = given.minutes * 30
    upgrades = [] if given.plain else [faults.upgraded, faults.upgraded_and_revoked, faults.upgrade_refused]
    try:
        await run.with_load(faults.run(time.monotonic() + half, [faults.restarted] + upgrades))
        await run.count_from_here()
        await run.with_load(faults.run(time.monotonic() + half))
        run.compare()
        run.check_growth()
        await run.check_rest()
    finally:
        await run.close()
    return faults


async def changes(given: argparse.Namespace, run: Run) -> Faults:
    """Restarts and upgrades under steady load, one after the other."""
    faults = await run.open(everything=False)
    jobs = [faults.restarted] * given.restarts + [faults.upgraded] * given.upgrades
    run.world.random.shuffle(jobs)

    async def do_all() -> None:
        for job in jobs:
            await asyncio.sleep(run.world.random.uniform(0.2, 0.6))
            await faults.make(job)

    try:
        await run.with_load(do_all())
        await run.count_from_here()
        run.compare()
    finally:
        await run.close()
    return faults


def report(given: argparse.Namespace, run: Run, faults: Faults, seconds: float) -> int:
    sends = run.world.ledger.sends
    findings = run.findings
    figures = {
        "seed": given.seed, "seconds": round(seconds), "requests": len(sends), "executed": len(run.crm.executions()),
        "processes": run.gateway.generation,
        "faults": sum(faults.made.values()), "faults_by_kind": dict(sorted(faults.made.items())),
        **findings.counts(), **run.figures,
        "by_status": dict(sorted(Counter(str(send.outcome) for send in sends).items())),
        "by_wire": dict(sorted(Counter(send.wire for send in sends).items())),
        "by_kind": dict(sorted(Counter(send.kind for send in sends).items())),
        "found": run.found + findings.wrong + findings.lost + findings.doubled,
    }
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            if isinstance(value, dict):
                value = ", ".join(f"{kind} {count:,}" for kind, count in value.items())
            if name != "found":
                print(f"{name.replace('_', ' '):24} {value}")
    for what in figures["found"][:40]:
        print(f"FAILED: {what}", file=sys.stderr)
    return 1 if figures["found"] else 0


def main() -> int:
    given = arguments()
    if given.self_test:
        return asyncio.run(selftest.run(given, Run))
    print(f"seed {given.seed}", file=sys.stderr)
    end_on_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="sidelock-soak-"))
    try:
        return asyncio.run(whole(given, folder))
    finally:
        if given.keep:
            print(f"the folder of the run: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


async def whole(given: argparse.Namespace, folder: Path) -> int:
    only_changes, only_upgrades = given.restarts or given.upgrades, given.upgrades and not given.restarts
    kinds = {kind: WEIGHTS[kind] for kind in STEADY} if only_changes else WEIGHTS
    run, started = Run(given, folder, kinds, not given.plain and not only_upgrades), time.monotonic()
    try:
        faults = await (changes if only_changes else soak)(given, run)
    except Failed as failed:
        why = "".join(traceback.format_exception(failed.__cause__)) if failed.__cause__ else ""
        print(f"{run.gateway.log()[-2000:]}{why}FAILED: {failed}", file=sys.stderr)
        return 1
    return report(given, run, faults, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
