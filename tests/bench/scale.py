#!/usr/bin/env python3
"""What a request costs as the configuration and the number of clients grow. README.md says how it is measured."""

import argparse
import contextlib
import ipaddress
import json
import os
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True

import callgrind
import common
import load
import proxies
from common import WEBHOOK_SECRET, Client, Gateway, StubCrm, request

FEW, MANY = 50, 150
# More than that from the smallest to the largest size, and the table says so.
GROWS = 1.10
PER_ADDRESS = 500


class Setting:
    """A configuration of a size: text added to it, the key file, and what is asked over how many connections."""

    def __init__(self, more: str = "", keys: str = "", asks: list[bytes] | None = None, connections: int = 1, status: int = 200) -> None:
        self.more, self.keys, self.asks, self.connections, self.status = more, keys, asks or [], connections, status


def get(path: str, key: str) -> bytes:
    return request("GET", path, {"Authorization": f"Bearer {key}"})


ONE = proxies.some_keys(1)[0]


def one_key(more: str = "") -> str:
    return common.key_block(*ONE, more=more)


def networks(count: int) -> str:
    """Networks that do not touch each other, and loopback as the last."""
    start = int(ipaddress.ip_address("130.0.0.0"))
    listed = [f'"{ipaddress.ip_address(start + 512 * number)}/24"' for number in range(count - 1)]
    return "[" + ", ".join([*listed, '"127.0.0.0/8"']) + "]"


def with_keys(count: int) -> Setting:
    keys = proxies.some_keys(count)
    asking = keys[:: max(1, count // 100)]
    text = "".join(common.key_block(*key) for key in keys)
    return Setting(keys=text, asks=[get("/api/messages?after=17", key) for _, key in asking])


def with_unknown(count: int) -> Setting:
    text = "".join(common.key_block(*key) for key in proxies.some_keys(count))
    return Setting(keys=text, asks=[get("/api/messages", key) for _, key in proxies.some_keys(100, seed=7)], status=401)


def with_connections(count: int) -> Setting:
    return Setting(keys=one_key(), asks=[get("/api/messages?after=17", ONE[1])], connections=count)


def with_rules(count: int, form: str) -> Setting:
    rules = ", ".join(f'"GET {form.format(number)}"' for number in range(count))
    more = f"\n[scopes.many]\nallow = [{rules}]\n"
    path = form.format(count - 1).replace("**", "a/b").replace("*", "17")
    return Setting(more, one_key().replace('["read_messages"]', '["many"]'), [get(path, ONE[1])])


def with_networks(count: int) -> Setting:
    more = f"\n[client_address]\nallow_from = {networks(count)}\n"
    return Setting(more, one_key(), [get("/api/messages?after=17", ONE[1])])


def with_key_networks(count: int) -> Setting:
    return Setting(keys=one_key(f"allow_from = {networks(count)}\n"), asks=[get("/api/messages?after=17", ONE[1])])


def with_routes(count: int, asked: str) -> Setting:
    more = "".join(f'\n[[route]]\npath = "/pages/{number}/**"\naccess = "public"\n' for number in range(count))
    return Setting(more, one_key(), [get(asked.format(count - 1), ONE[1])])


def with_webhooks(count: int, deliver: bool) -> Setting:
    more = "".join(
        f'\n[[webhook]]\nname = "w{number}"\npath = "/hooks/w{number}"\nheader = "x-partner-token"\nsecrets = ["file:github-secret"]\n'
        for number in range(count))
    ask = get("/api/messages?after=17", ONE[1])
    if deliver:
        ask = request("POST", f"/hooks/w{count - 1}", {"X-Partner-Token": WEBHOOK_SECRET}, b'{"number":1}')
    return Setting(more, one_key(), [ask])


CASES: dict[str, tuple[tuple[int, ...], Callable[[int], Setting]]] = {
    "keys, another each time": ((10, 1_000, 100_000), with_keys),
    "keys, unknown key (401)": ((10, 1_000, 100_000), with_unknown),
    "connections": ((1, 100, 10_000), with_connections),
    "scope rules, words": ((10, 1_000), lambda count: with_rules(count, "/api/things-{}/list")),
    "scope rules, * and **": ((10, 1_000), lambda count: with_rules(count, "/api/things-{}/*/parts/**")),
    "scope rules, * first": ((10, 1_000), lambda count: with_rules(count, "/*/things-{}/*/list")),
    "networks, for all": ((10, 100_000), with_networks),
    "networks of the key": ((10, 100_000), with_key_networks),
    "routes, none fits": ((10, 1_000), lambda count: with_routes(count, "/api/messages?after=17")),
    "routes, the last fits": ((10, 1_000), lambda count: with_routes(count, "/pages/{}/a")),
    "webhooks, an API request": ((1, 100), lambda count: with_webhooks(count, deliver=False)),
    "webhooks, a delivery": ((1, 100), lambda count: with_webhooks(count, deliver=True)),
}


def configured(binary: Path, crm: int, setting: Setting) -> Gateway:
    gateway = Gateway(binary, crm, setting.keys, 1, callgrind.TOOL)
    file = gateway.folder / "sidelock.toml"
    file.write_text(file.read_text() + setting.more)
    return gateway


def count(binary: Path, setting: Setting, requests: int) -> int:
    """Instructions of a whole run of the threads that serve requests: one on each connection, then `requests` more."""
    with StubCrm() as crm, configured(binary, crm.port, setting) as gateway, contextlib.ExitStack() as stack:
        clients = []
        for number in range(setting.connections + requests):
            if number < setting.connections:
                source = (f"127.0.1.{1 + number // PER_ADDRESS}", 0)
                clients.append(stack.enter_context(Client(gateway.port, 120, source)))
            status = clients[number % setting.connections].ask(setting.asks[number % len(setting.asks)])
            if status != setting.status:
                raise SystemExit(f"request {number} got {status} instead of {setting.status}")
        stack.close()
        gateway.stop()
        return sum(thread.total for thread in callgrind.threads(gateway.folder, ("proxy", "access-log")).values())


def instructions(binary: Path, only: list[str] | None) -> dict[str, dict[int, int]]:
    print(f"user instructions per request\n{'':26}{'size':>10}{'each':>12}{'to the smallest':>18}")
    table = {}
    for name, (sizes, make) in CASES.items():
        if only and name not in only:
            continue
        table[name] = {}
        for size in sizes:
            setting = make(size)
            # What opening thousands of connections takes differs a little from run to run.
            few, many = (FEW, MANY) if setting.connections < 1_000 else (10 * FEW, 10 * MANY)
            each = round((count(binary, setting, many) - count(binary, setting, few)) / (many - few))
            table[name][size] = each
            growth = each / table[name][sizes[0]]
            print(f"{name:26}{size:10,}{each:12,}{growth:18.2f}{'  GROWS' if growth > GROWS else ''}", flush=True)
    return table


def standing(binary: Path, seconds: int) -> dict[int, dict[str, float]]:
    """CPU of a gateway that nobody asks: its looks at the files by the clock. And its memory."""
    print(f"\nwithout a request, {seconds} s\n{'keys':>10}{'ms CPU a second':>18}{'resident MB':>13}{'peak MB':>10}")
    table = {}
    with proxies.Upstream() as upstream:
        for size in (10, 10_000, 100_000):
            with proxies.Sidelock(proxies.some_keys(size), upstream.port, binary) as proxy:
                time.sleep(2)
                before = proxy.cpu_seconds()
                time.sleep(seconds)
                spent = (proxy.cpu_seconds() - before) / seconds * 1000
                peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{proxy.pids()[0]}/status").read_text())
                row = {"ms": spent, "resident": proxy.resident() / 1e6, "peak": int(peak[1]) / 1e3 if peak else 0.0}
            table[size] = row
            print(f"{size:10,}{row['ms']:18.2f}{row['resident']:13.1f}{row['peak']:10.1f}", flush=True)
    return table


class Threads(proxies.Sidelock):
    """Sidelock with a number of threads, pinned to no core: both, and load and upstream on the same."""

    threads = 1

    def configure(self, keys: list[proxies.Key]) -> None:
        super().configure(keys)
        self.core = ",".join(str(core) for core in range(os.cpu_count() or 1))
        self.file.write_text(self.file.read_text().replace("threads = 1", f"threads = {self.threads}"))


def two_threads(binary: Path, rounds: int, seconds: int) -> dict[str, list[dict[str, float]]]:
    """One thread and two, in turns, under as much load as wrk makes."""
    keys, runs = proxies.some_keys(10_000), {1: [], 2: []}
    with proxies.Upstream() as upstream, contextlib.ExitStack() as stack:
        asking = upstream.folder / "ask"
        asking.write_text("".join(f"{key}\n" for _, key in keys[::10]))
        running = {}
        for threads in runs:
            kind = type("Threads", (Threads,), {"threads": threads})
            running[threads] = stack.enter_context(kind(keys, upstream.port, binary))
            load.wrk(running[threads], asking, 1)
        for _ in range(rounds):
            for threads, proxy in running.items():
                runs[threads].append(load.wrk(proxy, asking, seconds))
    ratios = [two["us"] / one["us"] for one, two in zip(runs[1], runs[2])]
    print(f"\nthreads on {os.cpu_count()} cores that load and upstream share; {rounds} rounds\n{'threads':>8}{'us CPU each':>13}{'per second':>12}")
    for threads, each in runs.items():
        print(f"{threads:8}{statistics.median(run['us'] for run in each):13.1f}{statistics.median(run['rate'] for run in each):12,.0f}")
    print(f"CPU each, two to one, paired: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)
    return {str(threads): each for threads, each in runs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/sidelock")
    parser.add_argument("--only", action="append", choices=[*CASES, "standing", "threads"], metavar="CASE", help=f"one of: {'; '.join([*CASES, 'standing', 'threads'])}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes all figures there")
    args = parser.parse_args()
    binary = common.find_binary(args.binary)
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing; on Debian: apt-get install valgrind")
    proxies.set_up([])
    common.end_on_sigterm()
    found: dict[str, object] = {"instructions": instructions(binary, args.only)}
    if not args.only or "standing" in args.only:
        found["standing"] = standing(binary, 20)
    if not args.only or "threads" in args.only:
        found["threads"] = two_threads(binary, 5, 3)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
