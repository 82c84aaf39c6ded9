#!/usr/bin/env python3
"""Time from saving `revoked = true` to the first 401, with 10,000 keys and under load. README.md says more."""

import argparse
import math
import multiprocessing
import random
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.dont_write_bytecode = True

import common
from common import Client, Gateway, StubCrm, read_messages

REVOCATIONS = 20
CONNECTIONS = 4
EACH_PER_SECOND = 200
POLL_SECONDS = 0.005
MOST_MS = 1000
# Far beyond what is allowed, so that a slow one is still measured.
PATIENCE_SECONDS = 5
WHOLE_RUN_SECONDS = 55


class Load:
    """A process with keep-alive connections that ask at a steady pace; what was not 200 is told at the end."""

    def __init__(self, port: int, keys: list[str]) -> None:
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_load, args=(port, keys, theirs), daemon=True)

    def __enter__(self) -> "Load":
        self.process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.join(10)

    def end(self) -> tuple[Counter, float]:
        """Outcomes by status or error, and the slowest request in milliseconds."""
        self.ours.send("end")
        if not self.ours.poll(PATIENCE_SECONDS * 2):
            raise SystemExit("the load did not end")
        return self.ours.recv()


def _load(port: int, keys: list[str], pipe: "multiprocessing.connection.Connection") -> None:
    common.in_child()
    over, outcomes, slowest = threading.Event(), Counter(), [0.0]

    def connection(own: list[str]) -> None:
        client, number, due = None, 0, time.monotonic()
        while not over.is_set():
            began = time.monotonic()
            try:
                client = client or Client(port, PATIENCE_SECONDS)
                outcomes[client.ask(read_messages(own[number % len(own)]))] += 1
            except OSError as error:
                outcomes[repr(error)] += 1
                client = None
            slowest[0] = max(slowest[0], time.monotonic() - began)
            number += 1
            due = max(due + 1 / EACH_PER_SECOND, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

    threads = [
        threading.Thread(target=connection, args=(keys[first::CONNECTIONS],)) for first in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    pipe.recv()
    over.set()
    for thread in threads:
        thread.join()
    pipe.send((outcomes, slowest[0] * 1000))


def save(file: Path, text: str, rename: bool) -> float:
    """Saves as people do it, and tells when that was done."""
    if rename:
        beside = file.with_suffix(".new")
        beside.write_text(text)
        beside.chmod(0o600)
        beside.rename(file)
    else:
        file.write_text(text)
    return time.monotonic()


def until_refused(client: Client, key: str, saved: float) -> float:
    """Milliseconds from `saved` to the first 401 or the end of the connection; every answer before it must be 200."""
    while time.monotonic() < saved + PATIENCE_SECONDS:
        try:
            status = client.ask(read_messages(key))
        except ConnectionError:
            # What carried the key is closed with it.
            return (time.monotonic() - saved) * 1000
        if status == 401:
            return (time.monotonic() - saved) * 1000
        if status != 200:
            raise SystemExit(f"the key that was revoked got {status}")
        time.sleep(POLL_SECONDS)
    return math.inf


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def summary(kind: str, values: list[float]) -> str:
    values = sorted(values)
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return f"{kind:12} {len(values):3} times: p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {values[-1]:.0f} ms"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/sidelock")
    binary = common.find_binary(parser.parse_args().binary)
    common.end_on_sigterm()
    deadline = time.monotonic() + WHOLE_RUN_SECONDS
    keys = [common.new_key() for _ in range(common.KEYS)]
    blocks = [common.key_block(*key) for key in keys]
    # From all over the file; the load uses others.
    victims = range(common.KEYS // REVOCATIONS - 1, common.KEYS, common.KEYS // REVOCATIONS)
    steady = [key for number, (_, key) in enumerate(keys) if number not in victims][::7]
    took: dict[str, list[float]] = {"in place": [], "by rename": []}
    with (
        StubCrm() as crm,
        Gateway(binary, crm.port, "".join(blocks), threads=2) as gateway,
        Load(gateway.port, steady) as load,
    ):
        began = time.monotonic()
        for number, victim in enumerate(victims):
            # Not in step with the gateway's own look at the files every two seconds.
            time.sleep(random.uniform(0.1, 0.6))
            if time.monotonic() > deadline:
                raise SystemExit(f"only {number} of {REVOCATIONS} revocations fitted into {WHOLE_RUN_SECONDS} s")
            key = keys[victim][1]
            with Client(gateway.port, PATIENCE_SECONDS) as client:
                if client.ask(read_messages(key)) != 200:
                    raise SystemExit("a key was refused before it was revoked")
                blocks[victim] += "revoked = true\n"
                kind = "by rename" if number % 2 else "in place"
                saved = save(gateway.key_file, "".join(blocks), rename=kind == "by rename")
                took[kind].append(until_refused(client, key, saved))
        outcomes, slowest = load.end()
        seconds = time.monotonic() - began
        reloads = re.findall(r'^sidelock_reloads_total\{result="(\w+)"\} (\d+)', gateway.admin_page("/metrics"), re.M)
    every = took["in place"] + took["by rename"]
    asked, failed = sum(outcomes.values()), {what: times for what, times in outcomes.items() if what != 200}
    print(f"from a save to the first 401 or the end of the connection, {common.KEYS:,} keys")
    for kind, values in (*took.items(), ("both", every)):
        print(summary(kind, values))
    print(f"meanwhile: {asked} requests in {seconds:.1f} s, slowest {slowest:.0f} ms, not 200: {failed or 0}")
    print("reloads since the start:", ", ".join(f"{times} {result}" for result, times in reloads) or "not told")
    if failed or asked == 0 or max(every) > MOST_MS:
        print(f"FAILED: every request must get 200, and a revocation must count within {MOST_MS} ms")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
