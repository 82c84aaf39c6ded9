"""The alerts ask for what there is, say what to do, and each of their thresholds is where the tests want it."""

import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from conftest import PATIENCE, ROOT
from promql import ALERTS, RULES, Fault, check, exported, metrics_in, recorded, rules

TESTS = sorted((ROOT / "dashboards/prometheus/tests").glob("*.test.yml"))
EXAMPLES = ROOT / "dashboards/prometheus"
BINARY = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()
RUNBOOK = ROOT / "dashboards/runbook.md"
NAMES = [alert["alert"] for alert in rules(ALERTS)]
#: The longest that promtool may take for anything here.
LONGEST = 120
COMPARISON = re.compile(r"(==|<=|>=|<|>)\s+(-?[0-9.]+)")
OPPOSITE = {"==": "!=", "<=": ">", ">=": "<", "<": ">=", ">": "<="}


def promtool(*words):
    command = [shutil.which("promtool"), *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONGEST)


def test_promtool_accepts_the_rules():
    done = promtool("check", "rules", RULES, ALERTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.name)
def test_alerts_fire_and_stay_silent(tests):
    done = promtool("test", "rules", tests)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", rules(RULES) + rules(ALERTS), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_what_there_is(rule):
    labels = check(rule["expr"], rule.get("record"))
    for text in rule.get("annotations", {}).values():
        shown = set(re.findall(r"\$labels\.(\w+)", text))
        assert shown <= labels, f"{shown - labels} shows nothing: {text}"


def test_no_recorded_series_is_without_use():
    used = set().union(*(metrics_in(rule["expr"]) for rule in rules(RULES) + rules(ALERTS)))
    assert set(recorded()) <= used


@pytest.mark.parametrize(
    "wrong",
    [
        "sidelock_requests_totals",
        "sum(sidelock_requests_total)",
        'rate(sidelock_requests_total{keys="a"}[5m])',
        "rate(sidelock_in_flight[5m])",
        "delta(sidelock_requests_total[5m])",
        "sum by (title) (rate(sidelock_requests_total[5m]))",
        "rate(key:sidelock_requests:rate5m[5m])",
        "histogram_quantile(0.9, sum by (route) (rate(sidelock_request_duration_seconds_bucket[5m])))",
        "sidelock_key_live * on (key) group_left (owner) sidelock_key_info",
        "sidelock_key_live * on (route) sidelock_key_live",
    ],
)
def test_the_checker_notices(wrong):
    with pytest.raises(Fault):
        check(wrong)


#: Counters of which some series are born with their first event, and why no alert misses it.
BORN_LATE = {
    "sidelock_requests_total": "a key in use has its 2xx from load on, and the first failure of a key alone is no alert",
    "sidelock_denied_total": "counted from birth by key_reason:sidelock_denied:increase5m; decoys have theirs from load on",
    "sidelock_key_new_networks_total": "born at zero: a key's first network is not a new one",
}


def test_no_alert_misses_a_first_event():
    counted = set().union(*(metrics_in(rule["expr"]) for rule in rules(RULES) + rules(ALERTS)))
    late = {name for name in counted & exported().keys() if "first" in exported()[name]["since"]}
    assert {name for name in late if exported()[name]["type"] == "counter"} == BORN_LATE.keys()


def anchors():
    return re.findall(r"^### (Sidelock\w+)$", RUNBOOK.read_text(), re.MULTILINE)


def test_each_alert_says_what_to_do():
    bases = set()
    for alert in rules(ALERTS):
        name, notes = alert["alert"], alert["annotations"]
        assert alert["labels"].keys() == {"severity"} and alert["labels"]["severity"] in ("critical", "warning", "info")
        base, anchor = notes["runbook_url"].split("#")
        bases.add(base)
        assert anchor == name.lower(), name
        assert len(notes["summary"]) > 10 and len(notes["description"]) > 40, name
        assert ("$labels.key" in notes["summary"]) == ("title" in notes), f"{name}: a key has a title"
    assert anchors() == NAMES, "runbook.md has the alerts in their order"
    assert len(bases) == 1 and base.endswith("/runbook.md")


def test_the_examples_are_accepted():
    done = promtool("check", "config", EXAMPLES / "prometheus.yml")
    assert done.returncode == 0, done.stdout
    for severity, receiver in (("critical", "pager"), ("warning", "chat"), ("info", "week")):
        words = ["config", "routes", "test", "--config.file", EXAMPLES / "alertmanager.yml", f"severity={severity}"]
        done = subprocess.run(["amtool", *words], capture_output=True, text=True, timeout=LONGEST)
        assert (done.returncode, done.stdout.strip()) == (0, receiver), done.stderr


def test_the_documents_know_how_many():
    for document in ("README.md", "dashboards/README.md"):
        assert f"{len(NAMES)} alerts" in (ROOT / document).read_text(), document


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`sidelock ([^`]+)`", RUNBOOK.read_text()))))
def test_the_runbook_names_commands_that_there_are(command, tmp_path):
    # Where there is no configuration, whatever the program understands ends with that; what stands for a value gets one.
    for before, value in (("--allow-from …", "--allow-from 192.0.2.1"), ("--rate …", "--rate 1/s"), ("ADDRESS", "192.0.2.1")):
        command = command.replace(before, value)
    words = shlex.split(command)
    nowhere = {**os.environ, "SIDELOCK_CONFIG": str(tmp_path / "nowhere.toml")}
    done = subprocess.run(
        [BINARY, *words], cwd=tmp_path, env=nowhere, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2 and "nowhere.toml" in done.stderr, done.stderr


def cases(alert):
    """The tests that are named after an alert, and what else their file says."""
    for path in TESTS:
        whole = yaml.safe_load(path.read_text())
        own = [test for test in whole["tests"] if test.get("name") == alert]
        if own:
            yield whole | {"tests": own}


def mutants(alert):
    """Copies of an alert in each of which one comparison is wrong."""
    expr = alert["expr"]
    yield "unchanged", alert
    for found in COMPARISON.finditer(expr):
        operator, number = found[1], float(found[2])
        swapped = [(operator, number * 2), (operator, number / 2)] if number else [(operator, 1e15), (operator, -1e15)]
        if operator == "==" and not number:
            swapped.pop()
        for new, value in [*swapped, (OPPOSITE[operator], number)]:
            text = f"{expr[: found.start()]}{new} {value!r}{expr[found.end() :]}"
            yield f"{found[0]} at {found.start()} as {new} {value:g}", alert | {"expr": text}
    if "for" in alert:
        yield "at once", {key: value for key, value in alert.items() if key != "for"}


def needed(expr, groups):
    """The groups with only those rules that `expr` stands on."""
    wanted, before = metrics_in(expr), None
    while wanted != before:
        before = set(wanted)
        for group in groups:
            for rule in group["rules"]:
                if rule["record"] in wanted:
                    wanted |= metrics_in(rule["expr"])
    kept = [group | {"rules": [rule for rule in group["rules"] if rule["record"] in wanted]} for group in groups]
    return [group for group in kept if group["rules"]]


def write_mutants(folder):
    """A test file for each mutant and each file of tests that knows its alert; who is in which."""
    recording = yaml.safe_load(RULES.read_text())["groups"]
    written = {}
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for alert in group["rules"]:
            for what, mutant in mutants(alert):
                here = folder / f"{len(list(folder.iterdir()))}"
                here.mkdir()
                groups = [*needed(mutant["expr"], recording), {"name": group["name"], "rules": [mutant]}]
                (here / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
                order = [group["name"] for group in groups]
                for number, tests in enumerate(cases(alert["alert"])):
                    file = here / f"{number}.test.yml"
                    file.write_text(yaml.safe_dump(tests | {"rule_files": ["rules.yml"], "group_eval_order": order}))
                    written.setdefault((alert["alert"], what), []).append(str(file))
    return written


def test_every_threshold_is_tested(tmp_path):
    written = write_mutants(tmp_path)
    assert {alert for alert, _ in written} == set(NAMES), "every alert has tests that are named after it"
    files = [file for files in written.values() for file in files]
    # Few processes with many files each: most of a short test is the start of promtool.
    shares = [files[start::8] for start in range(8)]
    with ThreadPoolExecutor(2) as pool:
        said = "".join(done.stdout for done in pool.map(lambda share: promtool("test", "rules", *share), shares))
    # A file that promtool could not even read fails in other words, and is missing here.
    verdict = re.compile(r"^Unit Testing:\s+(\S+)\n\s+(SUCCESS|FAILED:\n\s+expr)", re.MULTILINE)
    verdicts = dict(verdict.findall(said))
    assert verdicts.keys() == set(files), said
    fooled = []
    for (alert, what), own in written.items():
        passed = all(verdicts[file] == "SUCCESS" for file in own)
        if passed != (what == "unchanged"):
            fooled.append(f"{alert}: {what}")
    assert not fooled, "the tests do not see the difference:\n" + "\n".join(fooled)
    print(f"{len(written) - len(NAMES)} wrong alerts were noticed")
