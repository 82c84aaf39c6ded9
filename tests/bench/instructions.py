#!/usr/bin/env python3
"""User instructions per request, counted by callgrind on the real binary. README.md says what is counted and how."""

import argparse
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import callgrind
import common
from common import WEBHOOK_SECRET, Client, Gateway, StubCrm, read_messages, request

# Of these threads a request's instructions are counted.
REQUEST_THREADS = ("proxy", "access-log")
ROUNDS = 2
RELOAD = "reload, 10,000 keys"
# Reloads of the shorter and of the longer run.
RELOADS = (1, 2)
# What the gate lets a figure rise over its ceiling, and how far below it a ceiling is worth lowering.
MOST_RISE = 0.03
WORTH_LOWERING = 0.05


class Case:
    """A kind of request: the first one is not counted, all later ones get `status`."""

    def __init__(self, name: str, status: int, first: int, requests: list[bytes]) -> None:
        self.name, self.status, self.first, self.requests = name, status, first, requests


def signed_delivery(number: int) -> bytes:
    """As GitHub signs it, each one with another body of 4 KiB: a repeated one would be answered without the CRM."""
    body = b'{"number":%d,"text":"' % number
    body = body.ljust(4094, b"x") + b'"}'
    signature = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return request("POST", "/github/webhook", {"X-Hub-Signature-256": f"sha256={signature}"}, body)


def update(number: int) -> bytes:
    """As Telegram delivers it, 300 bytes, each one with another number."""
    body = b'{"update_id":%d,"message":{"message_id":1,"text":"' % (100_000_000 + number)
    body = body.ljust(297, b"x") + b'"}}'
    return request("POST", "/telegram/webhook", {"X-Telegram-Bot-Api-Secret-Token": WEBHOOK_SECRET}, body)


def make(deliveries: int) -> tuple[str, list[Case]]:
    """The key file's text, and the cases that fit it; `deliveries` of those that must differ."""
    keys = [common.new_key() for _ in range(common.KEYS)]
    limited = keys[-1][1]
    blocks = [common.key_block(*key) for key in keys[:-1]]
    blocks.append(common.key_block(*keys[-1], more='rate = "1/day"\n'))
    some = [key for _, key in keys[: common.KEYS - 1 : 10]]
    by_key = lambda key: {"Authorization": f"Bearer {key}"}
    unknown = [request("GET", "/api/messages?after=17", by_key(common.new_key()[1])) for _ in range(1000)]
    beyond_scope = [request("DELETE", "/api/tickets/17", by_key(key)) for key in some]
    return "".join(blocks), [
        Case("allowed", 200, 200, [read_messages(some[0])]),
        Case("allowed, other key", 200, 200, [read_messages(key) for key in some]),
        Case("unknown key", 401, 401, unknown),
        Case("scope missing", 403, 403, beyond_scope),
        Case("rate limited", 429, 200, [read_messages(limited)]),
        Case("telegram webhook", 200, 200, [update(number) for number in range(deliveries)]),
        Case("signed, 4 KiB", 200, 200, [signed_delivery(number) for number in range(deliveries)]),
    ]


def count(binary: Path, keys: str, case: Case, requests: int, keep: Path | None) -> int:
    """A whole run with `requests` of one kind: instructions of the threads that serve them."""
    with StubCrm() as crm, Gateway(binary, crm.port, keys, 1, callgrind.TOOL) as gateway:
        with Client(gateway.port, 120) as client:
            for number in range(requests + 1):
                status = client.ask(case.requests[number % len(case.requests)])
                wanted = case.status if number else case.first
                if status != wanted:
                    raise SystemExit(f"{case.name}: request {number} got {status} instead of {wanted}")
        gateway.stop()
        found = callgrind.threads(gateway.folder, REQUEST_THREADS)
        for name, thread in found.items():
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(thread.path, keep / f"callgrind.out.{case.name.replace(' ', '-')}.{name}")
        return sum(thread.total for thread in found.values())


def count_reloads(binary: Path, keys: str, reloads: int, keep: Path | None) -> int:
    """A whole run with accepted reloads: instructions of their thread, less those of its looks at the files by the clock."""
    with StubCrm() as crm, Gateway(binary, crm.port, keys, 1, callgrind.TOOL) as gateway:
        for number in range(reloads):
            # SIGHUP, for file events may come once or twice.
            os.kill(gateway.process.pid, signal.SIGHUP)
            await_reloads(gateway, number + 1)
        gateway.stop()
        thread = callgrind.threads(gateway.folder, ("reload",))["reload"]
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(thread.path, keep / "callgrind.out.reload")
        looks = thread.spent("sidelock::reload::Reloader::look", "sidelock::config::load::Fingerprint::of")
        if not looks:
            raise SystemExit("no look at the files is told from a reload; mend count_reloads in tests/bench/instructions.py")
        return thread.total - looks


def await_reloads(gateway: Gateway, wanted: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        told = re.search(r'^sidelock_reloads_total\{result="accepted"\} (\d+)', gateway.admin_page("/metrics"), re.MULTILINE)
        if told and int(told[1]) >= wanted:
            return
        time.sleep(0.1)
    raise SystemExit(f"reload {wanted} did not come within two minutes")


class Gate:
    """The figures that were agreed on. A case fails if it takes 3 % more, or has no figure."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.ceilings: dict[str, int] = json.loads(file.read_text())["ceilings"]
        self.passed = self.failed = 0

    def judge(self, name: str, figure: int) -> str:
        ceiling = self.ceilings.get(name)
        if ceiling is None or figure > ceiling * (1 + MOST_RISE):
            self.failed += 1
            return "  FAILED: no ceiling" if ceiling is None else f"  FAILED: {figure / ceiling - 1:+.1%} over {ceiling:,}"
        self.passed += 1
        if figure < ceiling * (1 - WORTH_LOWERING):
            return f"  ok, {figure / ceiling - 1:+.1%}: lower the ceiling of {ceiling:,}"
        return f"  ok, {figure / ceiling - 1:+.1%}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/sidelock")
    parser.add_argument("--few", type=int, default=500, help="requests of the shorter run")
    parser.add_argument("--many", type=int, default=2000, help="requests of the longer run")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--max-allowed", type=int, help="exit 1 if an allowed request takes more than this")
    parser.add_argument("--gate", type=Path, metavar="FILE", help="exit 1 if a case takes 3 %% more than its ceiling in this file")
    parser.add_argument("--keep", type=Path, help="folder for the longer runs' files, for callgrind_annotate")
    parser.add_argument("--only", action="append", metavar="CASE", help="this case alone; may be repeated")
    args = parser.parse_args()
    if not 0 < args.few < args.many:
        parser.error("--few must be positive and less than --many")
    return args


def main() -> int:
    args = arguments()
    binary = common.find_binary(args.binary)
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing; on Debian: apt-get install valgrind")
    common.end_on_sigterm()
    began = time.monotonic()
    keys, cases = make(args.many + 1)
    gate = Gate(args.gate) if args.gate else None
    few_reloads, many_reloads = RELOADS
    runs = [
        (case.name, case.status, args.many - args.few, lambda more, keep, case=case: count(
            binary, keys, case, args.many if more else args.few, keep))
        for case in cases
    ]
    runs.append((RELOAD, "", many_reloads - few_reloads, lambda more, keep: count_reloads(
        binary, keys, many_reloads if more else few_reloads, keep)))
    runs = [run for run in runs if not args.only or run[0] in args.only]
    if not runs:
        raise SystemExit("no such case")
    rounds = "".join(f"{f'round {number + 1}':>15}" for number in range(args.rounds))
    print(f"user instructions per request, {common.KEYS:,} keys, {len(common.ANSWER)} byte answer")
    print(f"{'':20} status{rounds}", flush=True)
    allowed = 0
    for name, status, times, measure in runs:
        figures = [
            round((measure(True, args.keep) - measure(False, None)) / times) for _ in range(args.rounds)
        ]
        verdict = gate.judge(name, max(figures)) if gate else ""
        print(f"{name:20} {status:>6}{''.join(f'{figure:>15,}' for figure in figures)}{verdict}", flush=True)
        if name == "allowed":
            allowed = max(figures)
    if gate:
        print(f"{gate.passed} passed, {gate.failed} failed in {time.monotonic() - began:.1f}s")
    if args.max_allowed is not None and allowed > args.max_allowed:
        print(f"an allowed request takes {allowed:,} instructions, more than {args.max_allowed:,}")
        return 1
    return 1 if gate and gate.failed else 0


if __name__ == "__main__":
    sys.exit(main())
