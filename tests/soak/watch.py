"""What is watched beside the answers: memory and descriptors of each process, its metrics, and its access log."""

import asyncio
import json
import os
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from gateway import Gateway, until
from ledger import BROKEN_OFF, CUT, NO_ANSWER, SILENT, Ledger, Send

SECONDS_BETWEEN = 0.5
#: A process is warm after this, or a quarter of the run: pools are filled, tables have their first entries.
WARM_SECONDS = 10.0
#: What the resident memory of a warm process may rise by within a run, by its slope: noise of the allocator, and the tables
#: that are bounded and fill up (remembered deliveries, origins, keys that come and go).
MOST_BYTES_GROWN = 6 << 20
#: The same where so little was watched that one fault, and what the allocator gives back after it, weighs much.
MOST_BYTES_GROWN_AT_FIRST = 16 << 20
SECONDS_AT_FIRST = 60
#: Seconds below which a slope tells nothing.
LEAST_SPAN = 30
#: And what descriptors may: their number goes up and down with connections. At rest it is exact, see `forgotten`.
MOST_DESCRIPTORS_GROWN = 25


@dataclass
class Sample:
    at: float
    process: int
    resident: int
    descriptors: int


def look(pid: int) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(time.monotonic(), pid, pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd")))


class Watch:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.samples: list[Sample] = []

    async def run(self) -> None:
        while True:
            try:
                self.samples.append(look(self.gateway.pid))
            except OSError:
                pass  # It has just ended; what comes next is looked at next.
            await asyncio.sleep(SECONDS_BETWEEN)

    def of(self, process: int, since: float, until_: float) -> list[Sample]:
        return [one for one in self.samples if one.process == process and since <= one.at <= until_]


def slope(points: list[tuple[float, float]]) -> float:
    """Units a second, by least squares."""
    if len(points) < 3:
        return 0.0
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points))
    across = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / across if across else 0.0


def growth(samples: list[Sample]) -> tuple[dict, list[str]]:
    """Figures of a process that ran all the time, and what is wrong with them."""
    if len(samples) < 10:
        return {}, []
    span = samples[-1].at - samples[0].at
    memory = slope([(one.at, one.resident) for one in samples])
    descriptors = slope([(one.at, one.descriptors) for one in samples])
    found = []
    if memory * span > (MOST_BYTES_GROWN if span >= SECONDS_AT_FIRST else MOST_BYTES_GROWN_AT_FIRST):
        found.append(f"memory rose by {memory * 60 / 1024:.0f} KiB a minute for {span:.0f} s")
    if descriptors * span > MOST_DESCRIPTORS_GROWN:
        found.append(f"descriptors rose by {descriptors * 60:.1f} a minute for {span:.0f} s")
    figures = {"watched_seconds": round(span), "resident_mib": round(samples[-1].resident / 2**20, 1)}
    if span >= LEAST_SPAN:
        figures |= {"resident_kib_per_minute": round(memory * 60 / 1024, 1), "descriptors_per_minute": round(descriptors * 60, 2)}
    return figures, found


def forgotten(before: int, now: int) -> list[str]:
    """What is open although nobody is connected."""
    return [f"{now} descriptors at rest, {before} before the load"] if now > before else []


# The access log

def read_log(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted((folder / "state").glob("access*.ndjson"))
            for line in path.read_text().splitlines()]


def compare_log(ledger: Ledger, lines: list[dict]) -> list[str]:
    """Each answered request has one line, with its status; each line is somebody's."""
    by_id = defaultdict(list)
    for line in lines:
        by_id[line["id"]].append(line)
    found = [f"{number}: {len(same)} lines in the access log" for number, same in by_id.items() if len(same) > 1]
    told = set()
    for send in ledger.sends:
        if send.request_id:
            told.add(send.request_id)
            same = by_id.get(send.request_id)
            if not same:
                found.append(f"{send.ref}: answered {send.outcome}, and not in the access log")
            elif isinstance(send.outcome, int) and same[0].get("status") != send.outcome:
                found.append(f"{send.ref}: answered {send.outcome}, and {same[0].get('status')} in the access log")
        # What two parsers could read differently is refused before it becomes a request, with no id.
        elif isinstance(send.outcome, int) and send.kind != "two lengths":
            found.append(f"{send.ref}: answered {send.outcome} without an id")
    unheard = sum(send.outcome in (CUT, NO_ANSWER, SILENT, BROKEN_OFF) and not send.request_id for send in ledger.sends)
    nobodys = [same[0] for number, same in by_id.items() if number not in told]
    # A request that was cut while its head was written is no request; the others are in the log.
    if len([line for line in nobodys if line.get("status") != 400]) > unheard + ledger.strays:
        found.append(f"{len(nobodys)} lines of requests that nobody sent; {unheard} were cut")
    return found


# The metrics

def families(page: str) -> dict[str, dict[tuple, float]]:
    """Values by name and sorted labels."""
    found = defaultdict(dict)
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", page, re.M):
        found[name][tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] = float(value)
    return found


def rise(before: str, after: str, name: str, kept: set[str]) -> Counter:
    """By how much a counter rose, by key and its other label."""
    found = Counter()
    for sign, page in ((1, after), (-1, before)):
        for labels, value in families(page)[name].items():
            labels = dict(labels)
            key, other = labels["key"], labels.get("code_class") or labels["reason"]
            if key in kept:
                found[key, other] += sign * int(value)
    return found


#: Kinds of which each refusal has one reason and status.
REASONS = {"no key": ("missing", 401), "over the rate": ("rate", 429), "crm hangs": ("upstream_timeout", 504)}


def compare_metrics(sends: list[Send], before: str, after: str, strays: int = 0) -> list[str]:
    """The rise of the counters of one process, against what its clients saw. What a client cut may be in them or not, and so
    may `strays`, connections that no request came over. A key that was deleted takes its series with it, and whoever still
    sends it is a stranger."""
    there = [{dict(labels)["key"] for labels in families(page)["sidelock_requests_total"]} for page in (before, after)]
    gone = there[0] - there[1] | {send.key for send in sends} - there[1]
    kept = (there[0] | there[1]) - gone
    answers, refusals = (rise(before, after, name, kept) for name in ("sidelock_requests_total", "sidelock_denied_total"))
    seen, unsure, strangers, seen_by_key, unsure_by_key = Counter(), 0, 0, Counter(), Counter()
    for send in sends:
        status = send.outcome if isinstance(send.outcome, int) else None
        if status is None and send.outcome in (CUT, NO_ANSWER, SILENT, BROKEN_OFF):
            unsure += 1
            unsure_by_key[send.key] += 1
        elif status and send.key in gone:
            strangers += status == 401
        elif status and not send.request_id:
            strays += 1
        elif status:
            seen[f"{status // 100}xx"] += 1
            seen_by_key[send.key] += status in (200, 101)
    found, counted = [], Counter()
    for (_, code_class), value in answers.items():
        counted[code_class] += value
    for code_class in set(seen) | set(counted):
        more = counted[code_class] - seen[code_class]
        if not 0 <= more <= unsure + (strangers + strays if code_class == "4xx" else 0):
            found.append(f"metrics: {counted[code_class]} answers {code_class}, the clients saw {seen[code_class]}; {unsure} were cut")
    for key in kept & set(seen_by_key) - {"unknown"}:
        more = answers[key, "2xx"] + answers[key, "1xx"] - seen_by_key[key]
        if not 0 <= more <= unsure_by_key[key]:
            found.append(f"metrics: key {key} has {more:+} answers 2xx beside the {seen_by_key[key]} that its clients saw")
    for kind, (reason, status) in REASONS.items():
        count = sum(send.kind == kind and send.outcome == status and send.key in kept | {"unknown"} for send in sends)
        total = sum(value for (_, why), value in refusals.items() if why == reason)
        if not 0 <= total - count <= unsure:
            found.append(f"metrics: {total} refusals for the reason {reason}, the clients saw {count}")
    return found


async def settled(gateway: Gateway, folder: Path) -> None:
    """Nothing is under way any more, and the log is written."""

    def quiet() -> bool:
        page = gateway.ask("/metrics")
        return "\nsidelock_in_flight 0\n" in page and "\nsidelock_connections 0\n" in page \
            and not families(page)["sidelock_upstream_connections"].get((("state", "idle"),))

    await until("the end of all requests", quiet)
    sizes = [-1]

    async def written() -> bool:
        sizes.append(sum(path.stat().st_size for path in (folder / "state").glob("access*.ndjson")))
        await asyncio.sleep(0.3)
        return sizes[-1] == sizes[-2]

    await until("the end of the access log", written)
