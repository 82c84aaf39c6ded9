"""The ledger: what was sent, what came back, what was allowed at that moment, and how the three are judged against what the CRM
wrote down. Nothing here does I/O, so that the self-test can falsify any part and see it noticed.

Times are seconds of the monotonic clock.
"""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field

#: After a save, an edit is in force within this: the second that is promised, and one more for a machine that is busy.
IN_FORCE = 2.0
#: Outcomes of a send that are no status.
CUT, NOT_TAKEN, NO_CONNECTION, NO_ANSWER, BROKEN_OFF, SILENT = (
    "cut by the client", "not taken", "no connection", "closed without an answer", "answer broke off", "no answer in time")
CRM_TROUBLE = {502, 503, 504}
#: So many requests over HTTP/2 may be turned away unseen while nothing is restarted.
MOST_NOT_TAKEN = 5


class Switch:
    """A value that changes, each time at some moment between the begin of an edit and when it must be in force."""

    def __init__(self, value: object) -> None:
        self.changes: list[tuple[float, float, object]] = [(float("-inf"), float("-inf"), value)]

    def change(self, begun: float, done: float, value: object) -> None:
        self.changes.append((begun, done + IN_FORCE, value))

    def told(self) -> str:
        """Its changes, for people."""
        return ", ".join(f"{value} from {begun:.3f} to {late:.3f} on" for begun, late, value in self.changes)

    def now(self) -> object:
        return self.changes[-1][2]

    def within(self, start: float, end: float) -> set:
        """Every value that may have been in force at some moment between the two."""
        found = set()
        for (begun, _, value), after in itertools.zip_longest(self.changes, self.changes[1:]):
            if begun <= end and (after is None or after[1] >= start):
                found.add(value)
        return found


class Windows:
    """Spans of time in which something was the matter."""

    def __init__(self) -> None:
        self.spans: list[list[float]] = []

    def open(self, now: float) -> None:
        self.spans.append([now, float("inf")])

    def close(self, now: float) -> None:
        self.spans[-1][1] = now

    def touch(self, start: float, end: float) -> bool:
        return any(begun <= end and start <= over for begun, over in self.spans)


@dataclass(slots=True)
class Send:
    """One request: written once, never sent again."""

    ref: str
    kind: str
    wire: str
    #: Statuses by what may be in force: allowed if the switches say so, refused otherwise.
    allowed: set
    refused: set = field(default_factory=set)
    switches: list = field(default_factory=list)
    #: May the CRM execute it when it is allowed; whether the answer is the CRM's own, so that its trouble shows.
    executes: bool = True
    digest: str = ""
    #: What one execution counts for: the request itself, or a delivery that is sent several times.
    once: str = ""
    key: str = "unknown"
    start: float = 0.0
    end: float = 0.0
    whole: bool = False
    #: Over a connection that was opened for it.
    fresh: bool = False
    outcome: object = None
    request_id: str = ""
    #: What was wrong with an answer's content, in words.
    fault: str = ""


class Ledger:
    def __init__(self) -> None:
        self.sends: list[Send] = []
        self.numbers = itertools.count(1)
        self.crm_trouble = Windows()
        self.restarting = Windows()
        #: Connections that were opened only to be cut.
        self.strays = 0
        self.wrong_otherwise: list[str] = []
        #: WebSockets that ended before their time: when, whether their key was good, and how. Judged at the end: an edit is in
        #: the ledger only once it is done.
        self.cut_tunnels: list[tuple[Send, float, Switch, str]] = []

    def new(self, **more) -> Send:
        ref = f"r{next(self.numbers)}"
        send = Send(ref=ref, once=more.pop("once", "") or ref, **more)
        self.sends.append(send)
        return send


@dataclass
class Findings:
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {"wrong": len(self.wrong), "lost": len(self.lost), "doubled": len(self.doubled)}


def may_pass(send: Send) -> set:
    """Whether the gate may allow it: True, False or either."""
    found = {True}
    for switch, wanted in send.switches:
        values = switch.within(send.start, send.end)
        if wanted not in values:
            return {False}
        if values != {wanted}:
            found.add(False)
    return found


def expected(send: Send, ledger: Ledger) -> set:
    """The statuses that are right for it."""
    passes, statuses = may_pass(send), set()
    if True in passes:
        statuses |= send.allowed
        if send.executes and ledger.crm_trouble.touch(send.start, send.end):
            statuses |= CRM_TROUBLE
    if False in passes:
        statuses |= send.refused
    return statuses


def judge(ledger: Ledger, record: list[tuple[str, str, str]], sockets_held: bool) -> Findings:
    """`record`: reference, digest and key id of each execution, in order."""
    found = Findings(wrong=list(ledger.wrong_otherwise))
    executions = defaultdict(list)
    for ref, digest, key in record:
        executions[ref].append((digest, key))
    by_once = Counter()
    known = {send.ref for send in ledger.sends}
    found.wrong += [f"{ref}: the CRM executed what nobody sent" for ref in executions if ref not in known and ref != "none"]
    for send in ledger.sends:
        done = executions.get(send.ref, [])
        by_once[send.once] += len(done)
        _judge_answer(send, done, ledger, sockets_held, found)
        _judge_executions(send, done, found)
    # A connection that says goodbye when it has idled long enough may just miss a request; many are no accident.
    shy = [send for send in ledger.sends if send.outcome == NOT_TAKEN and not ledger.restarting.touch(send.start, send.end)]
    if len(shy) > MOST_NOT_TAKEN:
        found.lost += [f"{_what(send)}: {NOT_TAKEN}" for send in shy]
    for send, at, valid, why in ledger.cut_tunnels:
        excused = (ledger.restarting.touch(send.start, at) or ledger.crm_trouble.touch(send.start, at)
                   or False in valid.within(send.start, at))
        if not excused or "Timeout" in why:
            found.wrong.append(f"{_what(send)}: a WebSocket was cut at {at:.3f}: {why}")
    found.doubled += [f"{once}: executed {count} times" for once, count in by_once.items() if count > 1]
    return found


def _what(send: Send) -> str:
    return f"{send.ref} ({send.kind} over {send.wire}, key {send.key}, {send.start:.3f} to {send.end:.3f})"


def _judge_answer(send: Send, done: list, ledger: Ledger, sockets_held: bool, found: Findings) -> None:
    what, outcome = _what(send), send.outcome
    if outcome in (CUT, NOT_TAKEN):
        return
    if not sockets_held and (outcome == NO_CONNECTION or outcome == NO_ANSWER and send.fresh):
        # A plain restart closes the port for a moment, and who waits there is cut; sockets that are held or handed over stay.
        if ledger.restarting.touch(send.start, send.end):
            return
    if outcome == BROKEN_OFF:
        excused = ledger.crm_trouble.touch(send.start, send.end) or False in may_pass(send)
        if not excused:
            found.lost.append(f"{what}: {outcome}")
        return
    if outcome in (NO_ANSWER, NO_CONNECTION, SILENT):
        # Whoever's key ends while a request is under way is cut.
        if not (outcome == NO_ANSWER and may_pass(send) == {True, False}):
            found.lost.append(f"{what}: {outcome}" + ("" if send.whole else ", before it was sent whole")
                              + "".join(f"; {switch.told()}" for switch, _ in send.switches))
        return
    if outcome not in expected(send, ledger):
        found.wrong.append(f"{what}: {outcome} instead of {sorted(expected(send, ledger))}")
    if send.fault:
        found.wrong.append(f"{what}: {send.fault}")
    if 200 <= outcome < 300 and send.executes and not done:
        found.lost.append(f"{what}: {outcome}, but the CRM knows nothing of it")


def _judge_executions(send: Send, done: list, found: Findings) -> None:
    what = _what(send)
    if done and not send.executes:
        found.wrong.append(f"{what}: was executed")
    if done and may_pass(send) == {False}:
        found.wrong.append(f"{what}: was executed although its credential was not good")
    if done and send.outcome == NOT_TAKEN:
        found.wrong.append(f"{what}: was executed, and the client was told that it was not")
    if done and isinstance(send.outcome, int) and send.outcome in send.refused - send.allowed:
        found.wrong.append(f"{what}: was refused with {send.outcome} and executed")
    for digest, key in done:
        if send.digest and digest != send.digest:
            found.wrong.append(f"{what}: the CRM got another body")
        if send.key not in ("unknown", key):
            found.wrong.append(f"{what}: the CRM was told another key, {key}")
