"""What can be known of a query without running it: which metrics it asks for, and which labels its answer has.

Metrics come from `sidelock metrics --json`, recorded series from the rules themselves.
"""

import json
import os
import re
import subprocess
from functools import cache

import promql_parser as ql
import yaml

from conftest import PATIENCE, ROOT

RULES = ROOT / "dashboards/prometheus/sidelock.rules.yml"
ALERTS = ROOT / "dashboards/prometheus/sidelock.alerts.yml"
#: What Prometheus itself adds to a series.
TARGET = {"job", "instance", "pod"}
#: What rules put on an alert, and what the gateway's series bring along.
OF_ALERTS = {"alertname", "alertstate", "severity", "key", "webhook"}
#: Functions that know that a counter starts again at zero.
OF_COUNTERS = {"rate", "irate", "increase", "resets"}
#: Functions of ranges that would take the restart of a counter for a fall.
OF_GAUGES = {"delta", "idelta", "deriv", "predict_linear"}
#: This one counts a series from its birth, and so has to look at the counter itself.
BARE_COUNTER = {"key_reason:sidelock_denied:increase5m"}


class Fault(Exception):
    """A query that cannot mean what it says."""


@cache
def exported():
    """What the gateway says that it exports, by name."""
    binary = (ROOT / os.environ.get("SIDELOCK_BIN", "target/debug/sidelock")).resolve()
    done = subprocess.run([binary, "metrics", "--json"], capture_output=True, check=True, timeout=PATIENCE)
    return {metric["name"]: metric for metric in json.loads(done.stdout)["metrics"]}


@cache
def catalogue():
    """Of each metric its type and its labels, histograms as the series they are made of."""
    known = {"up": ("gauge", set()), "ALERTS": ("gauge", OF_ALERTS)}
    for name, metric in exported().items():
        labels = set(metric["labels"])
        if metric["type"] == "histogram":
            known[f"{name}_bucket"] = ("counter", labels | {"le"})
            known[f"{name}_sum"] = known[f"{name}_count"] = ("counter", labels)
        else:
            known[name] = (metric["type"], labels)
    return known


@cache
def recorded():
    """Of each recorded series its labels."""
    found = {}
    for rule in rules(RULES):
        found[rule["record"]] = labels_of(ql.parse(rule["expr"]), rule["record"], found)
    return found


def rules(path):
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def check(query, rule=None):
    """The labels that the answer of a query has; a `Fault` if it asks for what is not there, or in a wrong way."""
    return labels_of(ql.parse(query), rule, recorded())


def metrics_in(query):
    """The names of all series that a query asks for."""
    return set(re.findall(r"\b(?:sidelock|process)_\w+\b|\b\w+(?::\w+)+\b", query))


def labels_of(node, rule, known, within=None):
    """The labels of what `node` gives; `within` is the function that it is an argument of."""
    down = lambda child, within=None: labels_of(child, rule, known, within)
    match node:
        case ql.VectorSelector():
            return selector(node, rule, known, within)
        case ql.MatrixSelector():
            return selector(node.vector_selector, rule, known, within)
        case ql.SubqueryExpr() | ql.ParenExpr() | ql.UnaryExpr():
            return down(node.expr, within)
        case ql.NumberLiteral() | ql.StringLiteral():
            return set()
        case ql.Call():
            return call(node, down)
        case ql.AggregateExpr():
            return aggregate(node, down)
        case ql.BinaryExpr():
            return binary(node, down)
    raise Fault(f"no rule for {type(node)}")


def selector(node, rule, known, within):
    if not node.name:
        raise Fault("a selector without a name")
    if node.name in known:
        kind, labels = "gauge", known[node.name]
        if within in OF_COUNTERS:
            raise Fault(f"{within}() of {node.name}, which is a rate already")
    elif node.name in catalogue():
        kind, labels = catalogue()[node.name]
        labels = labels | TARGET
    else:
        raise Fault(f"nobody exports {node.name}")
    if kind == "counter" and within not in OF_COUNTERS and rule not in BARE_COUNTER:
        raise Fault(f"{node.name} is a counter, and only its rise means something")
    if kind == "gauge" and within in OF_COUNTERS:
        raise Fault(f"{within}() of {node.name}, which is no counter")
    if kind == "counter" and within in OF_GAUGES:
        raise Fault(f"{within}() of {node.name}, which is a counter")
    for matcher in node.matchers.matchers:
        if matcher.name not in labels:
            raise Fault(f"{node.name} has no label {matcher.name}")
    return labels


def call(node, down):
    name = node.func.name
    given = [down(argument, name) for argument in node.args]
    labels = set().union(*given)
    if name == "label_replace":
        return labels | {node.args[1].val}
    if name == "histogram_quantile":
        if "le" not in labels:
            raise Fault("a quantile of something without le")
        return labels - {"le"}
    return labels


def aggregate(node, down):
    labels = down(node.expr)
    if node.modifier is None:
        return labels if str(node.op) in ("topk", "bottomk") else set()
    named = set(node.modifier.labels)
    if node.modifier.type == ql.AggModifierType.Without:
        return labels - named
    if named - labels:
        raise Fault(f"by {sorted(named - labels)}, which {node.expr.prettify()} has not")
    return labels if str(node.op) in ("topk", "bottomk") else named


def binary(node, down):
    left, right = down(node.lhs), down(node.rhs)
    modifier = node.modifier
    matching = modifier.matching if modifier else None
    if matching is not None and matching.type == ql.LabelModifierType.Include:
        for side, labels in (("left", left), ("right", right)):
            if set(matching.labels) - labels:
                raise Fault(f"on {sorted(set(matching.labels) - labels)}, which the {side} side has not")
    if str(node.op) == "or":
        return left | right
    if modifier and modifier.card == ql.VectorMatchCardinality.ManyToOne:
        extra = set(modifier.group_labels or [])
        if extra - right:
            raise Fault(f"group_left {sorted(extra - right)}, which the right side has not")
        return left | extra
    return left or right
