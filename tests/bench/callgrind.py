"""Reads what callgrind wrote with --separate-threads=yes: whose file is whose, and what a function took."""

import re
from pathlib import Path

TOOL = ("valgrind", "--tool=callgrind", "--separate-threads=yes", "--callgrind-out-file={folder}/callgrind")

# A thread is known by a function that no other thread runs; names of threads and their order are not in the files, and the
# order of their numbers in /proc turns round when the system's numbers do. Names in `without` rule a file out.
MARKS = {
    "proxy": "sidelock::proxy::exchange::run",
    "access-log": "parking_lot::condvar::Condvar::wait_until",
    "reload": "<sidelock::reload::Reloader as pingora_core::services::background::BackgroundService>::start",
}
WITHOUT = {"access-log": ("main", "tokio::runtime::", "notify::")}


class ThreadFile:
    """One thread's file: `total` instructions, the functions in it, and the calls between these."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text()
        totals = re.search(r"^totals: (\d+)", text, re.MULTILINE)
        self.total = int(totals[1]) if totals else 0
        self.functions: set[str] = set()
        self._calls: dict[tuple[str, str], int] = {}
        self._read(text)

    def _read(self, text: str) -> None:
        names: dict[str, str] = {}
        caller = callee = ""
        lines = iter(text.splitlines())
        for line in lines:
            if match := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?$", line):
                name = names.setdefault(match[2], match[3] or "")
                self.functions.add(name)
                if match[1]:
                    callee = name
                else:
                    caller = name
            elif line.startswith("calls="):
                cost = int(next(lines).split()[1])
                self._calls[caller, callee] = self._calls.get((caller, callee), 0) + cost

    def has(self, start: str) -> bool:
        return any(name.startswith(start) for name in self.functions)

    def spent(self, caller: str, callee: str) -> int:
        """Instructions of all calls from the one to the other, and below; names by their beginnings."""
        return sum(cost for (one, other), cost in self._calls.items() if one.startswith(caller) and other.startswith(callee))


def threads(folder: Path, wanted: tuple[str, ...]) -> dict[str, ThreadFile]:
    """The files of the threads that are wanted, each found exactly once."""
    files = [ThreadFile(path) for path in sorted(folder.glob("callgrind-*"))]
    found = {}
    for thread in wanted:
        fit = [it for it in files if it.has(MARKS[thread]) and not any(it.has(name) for name in WITHOUT.get(thread, ()))]
        if len(fit) != 1:
            raise SystemExit(
                f"{len(fit)} of {len(files)} threads look like '{thread}'; if '{MARKS[thread]}' has another name now, "
                "tell tests/bench/callgrind.py"
            )
        found[thread] = fit[0]
    return found
