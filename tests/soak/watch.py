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
    nobodys = [line for number, line in by_id.items() if number not in told]
    # A request that was cut while its head was written is no request; the others are in the log.
    if len([line for line in nobodys if line.get("status") != 400]) > unheard + storms(nobodys):
        found.append(f"{len(nobodys)} lines of requests that nobody sent; {unheard} were cut")
    return found


def storms(lines: list[dict]) -> int:
    """Lines of the connections that `clients_cut` breaks: they are in no ledger, and have no end."""
    return sum(line.get("path") == "/api/messages" and line.get("end") != "complete" for line in lines)


# The metrics

def families(page: str) -> dict[str, dict[tuple, float]]:
    """Values by name and sorted labels."""
    found = defaultdict(dict)
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", page, re.M):
        found[name][tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))] = float(value)
    return found


def totals(page: str) -> tuple[Counter, Counter]:
    """Answers by key and class of status, and refusals by reason."""
    told, answers, refusals = families(page), Counter(), Counter()
    for labels, value in told["sidelock_requests_total"].items():
        labels = dict(labels)
        answers[labels["key"], labels["code_class"]] += int(value)
    for labels, value in told["sidelock_denied_total"].items():
        refusals[dict(labels)["reason"]] += int(value)
    return answers, refusals


#: Reasons by the kind of request that has no other.
REASONS = {"wrong scope": {"scope"}, "no key": {"missing"}, "over the rate": {"rate"}, "crm hangs": {"upstream_timeout"}}


def compare_metrics(sends: list[Send], before: str, after: str) -> list[str]:
    """The rise of the counters of one process, against what its clients saw. What the client cut may be in them or not."""
    (answers, refusals), (answers_then, refusals_then) = totals(after), totals(before)
    answers.subtract(answers_then)
    refusals.subtract(refusals_then)
    found = []
    seen, open_ended = Counter(), 0
    for send in sends:
        if isinstance(send.outcome, int) and send.request_id:
            seen[f"{send.outcome // 100}xx"] += 1
        elif send.outcome == BROKEN_OFF or send.request_id:
            seen["2xx"] += 1
        elif send.outcome in (CUT, NO_ANSWER, SILENT):
            open_ended += 1
    counted = Counter()
    for (_, code_class), value in answers.items():
        counted[code_class] += value
    for code_class in set(seen) | set(counted):
        more = counted[code_class] - seen[code_class]
        # Connections that were cut before they were heard explain more, and nothing explains less.
        if not 0 <= more <= open_ended + unreadable(refusals, code_class):
            found.append(f"metrics: {counted[code_class]} answers {code_class}, the clients saw {seen[code_class]}")
    by_key = Counter(send.key for send in sends if send.outcome in (200, 101) and send.key != "unknown")
    cut_by_key = Counter(send.key for send in sends if not isinstance(send.outcome, int))
    for key, count in by_key.items():
        more = answers[key, "2xx"] + answers[key, "1xx"] - count
        if not 0 <= more <= cut_by_key[key]:
            found.append(f"metrics: key {key} has {answers[key, '2xx']} answers 2xx, its clients saw {count}")
    for kind, reasons in REASONS.items():
        statuses = {"wrong scope": 403, "no key": 401, "over the rate": 429, "crm hangs": 504}
        count = sum(send.outcome == statuses[kind] for send in sends
                    if send.kind == kind or (kind == "wrong scope" and send.kind == "scope that comes and goes"))
        more = sum(refusals[reason] for reason in reasons) - count
        if not 0 <= more <= open_ended:
            found.append(f"metrics: {count + more} refusals of {sorted(reasons)}, the clients saw {count}")
    return found


def unreadable(refusals: Counter, code_class: str) -> int:
    """Refusals that are counted as a reason and are answered without an id."""
    return refusals["ambiguous"] if code_class == "4xx" else 0


async def settled(gateway: Gateway, folder: Path) -> None:
    """Nothing is under way any more, and the log is written."""

    def quiet() -> bool:
        page = gateway.ask("/metrics")
        return "\nsidelock_in_flight 0\n" in page and "\nsidelock_connections 0\n" in page

    await until("the end of all requests", quiet)
    sizes = [-1]

    async def written() -> bool:
        sizes.append(sum(path.stat().st_size for path in (folder / "state").glob("access*.ndjson")))
        await asyncio.sleep(0.3)
        return sizes[-1] == sizes[-2]

    await until("the end of the access log", written)
