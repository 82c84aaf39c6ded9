#!/usr/bin/env python3
"""Sidelock and other gateways at the same job, in turns: CPU per request, latency, memory, start. README.md says more."""

import argparse
import contextlib
import datetime
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True

import common
import load
import proxies
from proxies import PROXIES, Proxy, Upstream

# The ratios are to these, where they take part.
BASES = ("nginx", "haproxy")
KEYS = 10_000
# As many take part in the load; the others are there to be looked past.
ASKING = 1_000


class Case:
    """A kind of load for wrk; `rounds` of it, each with every gateway in turn."""

    def __init__(self, title: str, rounds: int, keys: str = "many", refused: bool = False, **how: object) -> None:
        self.title, self.rounds, self.keys, self.refused, self.how = title, rounds, keys, refused, how


CASES = {
    "allowed": Case("allowed, 1 KiB answer, 1,000 keys", 7),
    "one-key": Case("allowed, 1 KiB answer, one key", 7, keys="one"),
    "small": Case("allowed, 100 B answer", 3, path="/api/messages/100"),
    "large": Case("allowed, 100 KiB answer", 3, path="/api/messages/100k"),
    "upload": Case("allowed, 100 KiB upload", 3, method="POST", body=102_400),
    "refused": Case("401, unknown key, connection kept", 5, keys="unknown", refused=True),
    "connect": Case("new connection for each request", 3, closing=True),
}
OTHERS = {
    "latency": "milliseconds at a fixed rate",
    "idle": "memory of idle connections",
    "start": "start until the first answer",
}


class Bench:
    """The gateways that take part, their keys, and what was found so far."""

    def __init__(self, args: argparse.Namespace, binary: Path) -> None:
        self.args, self.binary = args, binary
        self.names = [name for name in PROXIES if not args.peer or name in args.peer]
        self.found: dict[str, object] = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": {"nproc": os.cpu_count(), "processor": processor(), "kernel": platform.release()},
            "versions": {name: PROXIES[name].version(binary) for name in self.names},
            "cases": {},
        }

    def wants(self, case: str) -> bool:
        return not self.args.only or case in self.args.only

    def rounds(self, usual: int) -> int:
        return 1 if self.args.quick else usual

    def key_files(self, folder: Path, keys: list[proxies.Key]) -> dict[str, Path]:
        some = keys[:: len(keys) // ASKING]
        sets = {"many": some, "one": some[:1], "unknown": proxies.some_keys(ASKING, seed=7)}
        files = {}
        for name, chosen in sets.items():
            files[name] = folder / f"ask-{name}"
            files[name].write_text("".join(f"{key}\n" for _, key in chosen))
        return files

    def under_load(self, upstream: Upstream, keys: list[proxies.Key]) -> None:
        wanted = [name for name in CASES if self.wants(name)]
        if not wanted and not self.wants("latency"):
            return
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(PROXIES[name](keys, upstream.port, self.binary)) for name in self.names}
            files = self.key_files(upstream.folder, keys)
            for proxy in running.values():  # connections to the upstream, caches, and Envoy's buckets
                load.wrk(proxy, files["many"], 1)
            for name in wanted:
                self.case(name, running, files)
            if self.wants("latency"):
                self.latency(running, files["many"])

    def case(self, name: str, running: dict[str, Proxy], files: dict[str, Path]) -> None:
        case, results = CASES[name], {peer: [] for peer in running}
        seconds = 1 if self.args.quick else self.args.seconds
        for _ in range(self.rounds(case.rounds)):
            for peer, proxy in running.items():
                results[peer].append(load.wrk(proxy, files[case.keys], seconds, **case.how))
        print(f"\n{case.title}; {self.rounds(case.rounds)} rounds")
        bases = [base for base in BASES if base in running]
        print(f"{'':10}{'us CPU each':>12}" + "".join(f"{'to ' + base + ' (range)':>24}" for base in bases)
              + f"{'per second':>12}{'of a core':>11}{'not as meant':>14}")
        table = {}
        for peer, runs in results.items():
            us, rate, core = (statistics.median(run[what] for run in runs) for what in ("us", "rate", "core"))
            ratios = {base: [run["us"] / other["us"] for run, other in zip(runs, results[base])] for base in bases}
            wrong = sum(run["broken"] + (run["requests"] - run["refused"] if case.refused else run["refused"]) for run in runs)
            paired = "".join(f"{span(ratios[base]):>24}" for base in bases)
            print(f"{peer:10}{us:12.1f}{paired}{rate:12,.0f}{core:11.2f}{wrong:14,.0f}", flush=True)
            table[peer] = {"us": us, "ratios": ratios, "rate": rate, "core": core, "wrong": wrong, "runs": runs}
        self.found["cases"][name] = table

    def latency(self, running: dict[str, Proxy], keys: Path) -> None:
        seconds, results = (3.0 if self.args.quick else 10.0), {peer: [] for peer in running}
        for _ in range(self.rounds(3)):
            for peer, proxy in running.items():
                results[peer].append(load.at_fixed_rate(proxy.port, keys, self.args.rate, seconds))
        print(f"\n{OTHERS['latency']}, {self.args.rate:,} a second, from when each was due; medians of {self.rounds(3)} rounds")
        print(f"{'':10}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}{'answered':>11}")
        table = {}
        for peer, runs in results.items():
            row = {what: statistics.median(run[what] for run in runs) for what in ("p50", "p99", "p999", "max", "answered")}
            print(f"{peer:10}" + "".join(f"{row[what]:9.2f}" for what in ("p50", "p99", "p999", "max")) + f"{row['answered']:11.1%}", flush=True)
            table[peer] = row | {"runs": runs}
        self.found["latency"] = table

    def idle(self, upstream: Upstream, keys: list[proxies.Key]) -> None:
        print(f"\n{OTHERS['idle']}, {load.IDLE_CONNECTIONS:,}: each has asked once")
        print(f"{'':10}{'before MB':>11}{'with MB':>11}{'KB each':>11}{'after MB':>11}{'kept':>8}")
        table = {}
        for peer in self.names:
            with PROXIES[peer](keys, upstream.port, self.binary) as proxy:
                row = load.idle(proxy, keys[-1][1])
            print(f"{peer:10}{row['before'] / 1e6:11.1f}{row['with'] / 1e6:11.1f}{row['each'] / 1e3:11.2f}{row['after'] / 1e6:11.1f}{row['kept']:8.0%}", flush=True)
            table[peer] = row
        self.found["idle"] = table

    def start(self, upstream: Upstream, keys: list[proxies.Key], rounds: int) -> None:
        times, size = {peer: [] for peer in self.names}, {}
        for _ in range(rounds):
            for peer in self.names:
                proxy = PROXIES[peer](keys, upstream.port, self.binary)
                began = time.monotonic()
                with proxy:
                    until_answered(proxy, keys[-1][1])
                    times[peer].append(time.monotonic() - began)
                    size[peer] = proxy.resident()
        print(f"\n{OTHERS['start']}, {len(keys):,} keys; median of {rounds}")
        print(f"{'':10}{'seconds':>9}{'resident MB':>13}")
        table = {}
        for peer in self.names:
            print(f"{peer:10}{statistics.median(times[peer]):9.2f}{size[peer] / 1e6:13.1f}", flush=True)
            table[peer] = {"seconds": times[peer], "resident": size[peer]}
        self.found.setdefault("start", {})[str(len(keys))] = table


def span(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def until_answered(proxy: Proxy, key: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with common.Client(proxy.port, 10) as client:
                if client.ask(common.request("GET", "/api/messages", {"Authorization": f"Bearer {key}"})) == 200:
                    return
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit(f"{type(proxy).__name__} did not answer within a minute")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/sidelock")
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--only", action="append", choices=[*CASES, *OTHERS], help="this case alone; may be repeated")
    parser.add_argument("--peer", action="append", choices=PROXIES, help="this gateway alone; may be repeated")
    parser.add_argument("--seconds", type=int, default=3, help="of load for each gateway in each round")
    parser.add_argument("--rate", type=int, default=4_000, help="requests a second for latencies")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes all figures there")
    args = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("needs two cores: one for the gateway, one for load and upstream")
    binary = common.find_binary(args.binary)
    proxies.set_up([name for name in PROXIES if not args.peer or name in args.peer])
    common.end_on_sigterm()
    bench = Bench(args, binary)
    print(", ".join(f"{name} {version}" for name, version in bench.found["versions"].items()))
    keys = proxies.some_keys(KEYS)
    try:
        with Upstream() as upstream:
            bench.under_load(upstream, keys)
            if bench.wants("idle"):
                bench.idle(upstream, keys)
            if bench.wants("start"):
                bench.start(upstream, keys, bench.rounds(3))
                bench.start(upstream, proxies.some_keys(100_000), 1)
    except KeyboardInterrupt:
        return 130
    if args.json:
        args.json.write_text(json.dumps(bench.found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
