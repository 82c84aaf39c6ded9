"""The test of the test. Short real runs, in which something is made to be wrong, must be found wrong; and a run in which nothing
is wrong is falsified in each place that a check looks at, and that check must notice.

Against a CRM that lies: requests lost, doubled and mixed up. Against a revocation that the gateway is never told of: wrong
decisions. With a memory of deliveries that is switched off, and with a process that is killed. The rest works on the books of
the honest run.
"""

import asyncio
import copy
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import watch
from ledger import NO_ANSWER, NO_CONNECTION, NOT_TAKEN, SILENT, Findings, judge
from load import STEADY, WEIGHTS

SECONDS = 4


async def short_run(given, run_class, lie: str = "", spoil=None, meanwhile=None, forgetful: bool = False):
    """Some seconds of load without any fault; `spoil` is done before, `meanwhile` in between. The run, with its books closed."""
    folder = Path(tempfile.mkdtemp(prefix="sidelock-soak-"))
    kinds = {kind: WEIGHTS[kind] for kind in (*STEADY, "webhook again", "over the rate")}
    run = run_class(given, folder, kinds, held=False, lie=lie)
    if forgetful:
        run.gateway.write("sidelock.toml", run.gateway.configuration(False).replace("[[webhook]]", "[[webhook]]\nreplay = false"))
    try:
        await run.open(everything=False)
        await run.count_from_here()
        if spoil:
            spoil(run.world)
        await run.with_load(asyncio.gather(asyncio.sleep(SECONDS), *([meanwhile(run.world)] if meanwhile else [])))
        run.compare()
        run.executions = run.crm.executions()
        return run
    finally:
        await run.close()
        shutil.rmtree(folder)


def never_told(world) -> None:
    """The ledger believes that a key was revoked, and nobody told the gateway."""
    world.credentials[0].valid.change(time.monotonic() - 10, time.monotonic() - 5, False)
    world.recent = world.credentials[0]


def pick(run, want):
    return next(send for send in run.world.ledger.sends if want(send))


def falsified(run, change) -> Findings:
    """What the judge says of copies of the books, after `change` had its way with them."""
    ledger = copy.copy(run.world.ledger)
    ledger.sends = [replace(send) for send in ledger.sends]
    record = list(run.executions)
    change({send.ref: send for send in ledger.sends}, record)
    return judge(ledger, record, True)


def books(run) -> dict[str, tuple[str, Findings]]:
    """What was changed, and which kind of finding it must be."""
    ok = pick(run, lambda send: send.kind == "read" and send.outcome == 200).ref
    no = pick(run, lambda send: send.kind == "wrong scope" and send.outcome == 403).ref
    hook = pick(run, lambda send: send.kind == "webhook" and send.outcome == 200)
    row = next(row for row in run.executions if row[0] == ok)

    def outcome(ref, value):
        return lambda sends, record: setattr(sends[ref], "outcome", value)

    changes = {
        "an execution is not in the record": ("lost", lambda sends, record: record.remove(row)),
        "an execution is in it twice": ("doubled", lambda sends, record: record.append(row)),
        "a connection closed without an answer": ("lost", outcome(ok, NO_ANSWER)),
        "a connection refused": ("lost", outcome(ok, NO_CONNECTION)),
        "no answer ever": ("lost", outcome(ok, SILENT)),
        "many turned away unseen": ("lost", lambda sends, record: [
            setattr(send, "outcome", NOT_TAKEN) for send in list(sends.values())[:10]]),
        "a good key refused": ("wrong", outcome(ok, 401)),
        "a CRM that is well, unreachable": ("wrong", outcome(ok, 502)),
        "a wrong scope let through": ("wrong", outcome(no, 200)),
        "a refused request executed": ("wrong", lambda sends, record: record.append((no, "x", "y"))),
        "what nobody sent executed": ("wrong", lambda sends, record: record.append(("r0", "x", "y"))),
        "another body at the CRM": ("wrong", lambda sends, record: record.__setitem__(record.index(row), (ok, "x", row[2]))),
        "another key told to the CRM": ("wrong", lambda sends, record: record.__setitem__(record.index(row), (*row[:2], "x"))),
        "a delivery that came again executed": ("doubled", lambda sends, record: (
            setattr(sends[ok], "once", hook.once), None)),
    }
    return {what: (kind, falsified(run, change)) for what, (kind, change) in changes.items()}


def ledgers(run) -> dict[str, list[str]]:
    """Metrics and log against books that are not theirs."""
    sends, lines = run.world.ledger.sends, run.lines
    mine = [replace(send) for send in sends]
    answered = next(send for send in mine if send.outcome == 200 and send.key != "unknown")
    without = [send for send in mine if send is not answered]
    ledger = copy.copy(run.world.ledger)
    ledger.sends = without
    refused = [send for send in mine if send.kind != "over the rate" or send.outcome != 429]
    return {
        "metrics with an answer that no client saw": watch.compare_metrics(without, *run.pages),
        "metrics without an answer that a client saw": watch.compare_metrics([*mine, replace(answered)], *run.pages),
        "metrics with refusals that no client saw": watch.compare_metrics(refused, *run.pages),
        "a log without a line": watch.compare_log(run.world.ledger, lines[1:]),
        "a log with a line twice": watch.compare_log(run.world.ledger, lines + lines[:1]),
        "a log with a line that is nobody's": watch.compare_log(ledger, lines),
        "a log with another status": watch.compare_log(run.world.ledger, [{**lines[0], "status": 299}, *lines[1:]]),
    }


def rising() -> dict[str, list[str]]:
    """Series of a process that forgets what it opened, and of one that does not."""
    series = lambda memory, descriptors: [
        watch.Sample(at / 2, 1, (50 << 20) + at * memory + at % 7 * 100_000, 40 + at * descriptors // 100 + at % 5)
        for at in range(400)]
    flat = watch.growth(series(0, 0))[1] + watch.forgotten(40, 40)
    return {
        "memory that rises": [] if flat else watch.growth(series(40_000, 0))[1],
        "descriptors that rise": [] if flat else watch.growth(series(0, 10))[1],
        "a descriptor that stays open": watch.forgotten(40, 41),
    }


async def killed(world) -> None:
    """The process ends without a word, and another one starts."""
    await asyncio.sleep(1)
    world.gateway.kill()
    await world.gateway.start()


async def run(given, run_class) -> int:
    missed, noticed = [], 0

    def must(what: str, found) -> None:
        nonlocal noticed
        print(f"{'noticed' if found else 'MISSED '}  {what}")
        noticed += bool(found)
        missed.extend([] if found else [what])

    honest = await short_run(given, run_class)
    wrong = honest.found + honest.findings.wrong + honest.findings.lost + honest.findings.doubled
    if wrong:
        print("FAILED: the honest run is not clean:", *wrong[:10], sep="\n", file=sys.stderr)
        return 1
    for what, (kind, findings) in books(honest).items():
        must(f"{what} ({kind})", findings.counts()[kind])
    for what, found in (ledgers(honest) | rising()).items():
        must(what, found)
    for lie, kind in (("forget", "lost"), ("twice", "doubled"), ("mix", "wrong")):
        lying = await short_run(given, run_class, lie)
        must(f"a CRM that lies: {lie} ({kind})", lying.findings.counts()[kind])
    untold = await short_run(given, run_class, spoil=never_told)
    must("a revocation that the gateway was not told of (wrong)", untold.findings.wrong)
    forgetful = await short_run(given, run_class, forgetful=True)
    must("deliveries that are let through again (doubled)", forgetful.findings.doubled)
    fallen = await short_run(given, run_class, meanwhile=killed)
    must("a process that was killed (lost)", fallen.findings.lost)
    print(f"{noticed} noticed, {len(missed)} missed")
    return 1 if missed else 0
