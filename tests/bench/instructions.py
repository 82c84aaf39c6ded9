#!/usr/bin/env python3
"""User instructions per request, counted by callgrind on the real binary. README.md says what is counted and how."""

import argparse
import hashlib
import hmac
import os
import re
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import common
from common import WEBHOOK_SECRET, Client, Gateway, StubCrm, read_messages, request

# Of these threads the request's instructions are counted; both names occur once in the process.
REQUEST_THREAD = "proxy"
LOG_THREAD = "access-log"
ROUNDS = 2


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


def threads_of(pid: int) -> list[str]:
    """Names of a process's threads in the order of their making, which is how valgrind numbers them."""
    tasks = Path(f"/proc/{pid}/task")
    return [(tasks / str(number) / "comm").read_text().strip() for number in sorted(map(int, os.listdir(tasks)))]


def count(binary: Path, keys: str, case: Case, requests: int, keep: Path | None) -> dict[str, int]:
    """A whole run with `requests` of one kind: instructions by thread."""
    tool = ("valgrind", "--tool=callgrind", "--separate-threads=yes", "--callgrind-out-file={folder}/callgrind")
    with StubCrm() as crm, Gateway(binary, crm.port, keys, 1, tool) as gateway:
        with Client(gateway.port, 120) as client:
            for number in range(requests + 1):
                status = client.ask(case.requests[number % len(case.requests)])
                wanted = case.status if number else case.first
                if status != wanted:
                    raise SystemExit(f"{case.name}: request {number} got {status} instead of {wanted}")
        threads = threads_of(gateway.process.pid)
        gateway.stop()
        counted = {}
        for name in (REQUEST_THREAD, LOG_THREAD):
            if threads.count(name) != 1:
                raise SystemExit(f"not one thread is called '{name}': {threads}")
            file = gateway.folder / f"callgrind-{threads.index(name) + 1:02}"
            counted[name] = int(re.search(r"^totals: (\d+)", file.read_text(), re.MULTILINE)[1])
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, keep / f"callgrind.out.{case.name.replace(' ', '-')}.{name}")
        return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/sidelock")
    parser.add_argument("--few", type=int, default=500, help="requests of the shorter run")
    parser.add_argument("--many", type=int, default=2000, help="requests of the longer run")
    parser.add_argument("--max-allowed", type=int, help="exit 1 if an allowed request takes more than this")
    parser.add_argument("--keep", type=Path, help="folder for the longer runs' files, for callgrind_annotate")
    parser.add_argument("--only", action="append", metavar="CASE", help="this case alone; may be repeated")
    args = parser.parse_args()
    if not 0 < args.few < args.many:
        parser.error("--few must be positive and less than --many")
    binary = common.find_binary(args.binary)
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing; on Debian: apt-get install valgrind")
    common.end_on_sigterm()
    keys, cases = make(args.many + 1)
    if args.only:
        cases = [case for case in cases if case.name in args.only]
    worst = 0
    rounds = "".join(f"{f'round {number + 1}':>10}" for number in range(ROUNDS))
    print(f"user instructions per request, {common.KEYS:,} keys, {len(common.ANSWER)} byte answer")
    print(f"{'':16} status{rounds}   of it log thread", flush=True)
    for case in cases:
        totals, log = [], 0.0
        for _ in range(ROUNDS):
            few = count(binary, keys, case, args.few, None)
            many = count(binary, keys, case, args.many, args.keep)
            each = {name: (many[name] - few[name]) / (args.many - args.few) for name in many}
            totals.append(round(sum(each.values())))
            log = each[LOG_THREAD]
        figures = "".join(f"{total:>10,}" for total in totals)
        print(f"{case.name:16} {case.status:6}{figures}{log:>19,.0f}", flush=True)
        if case.name == "allowed":
            worst = max(totals)
    if args.max_allowed is not None and worst > args.max_allowed:
        print(f"an allowed request takes {worst:,} instructions, more than {args.max_allowed:,}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
