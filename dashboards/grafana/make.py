#!/usr/bin/env python3
"""Writes the dashboards beside it. What they show is in overview.py, keys.py and security.py; here is their form.

    python3 dashboards/grafana/make.py            writes overview.json, keys.json, security.json
    python3 dashboards/grafana/make.py --check    ends with 1 if they are not what would be written
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Matchers of every series that a gateway exports, and of those that rules record.
OWN = 'job="$job",instance=~"$instance"'
RECORDED = 'job="$job"'
#: Grafana's grid has so many columns.
COLUMNS = 24


@dataclass
class Panel:
    """One panel; `targets` are queries with their legends."""

    title: str
    description: str
    unit: str
    targets: list
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    #: Values from which orange and red hold; where fewer is worse, values from which green and orange hold.
    steps: list = field(default_factory=list)
    stacked: bool = False
    decimals: int | None = None
    #: What differs from one column of a table to the next.
    overrides: list = field(default_factory=list)
    transformations: list = field(default_factory=list)
    mappings: list = field(default_factory=list)


@dataclass
class Row:
    """A heading."""

    title: str


def titled(query):
    """The same with the title of each key, from the key file."""
    return f'({query}) * on (key) group_left (title) topk by (key) (1, sidelock_key_info{{{RECORDED}}})'


def target(number, query, legend, kind):
    is_instant = kind in ("table", "stat", "bargauge")
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "expr": query,
        "legendFormat": legend,
        "editorMode": "code",
        "instant": is_instant,
        "range": not is_instant,
        "format": "table" if kind == "table" else "time_series",
    }


LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
#: Options of each kind of panel, every one that Grafana's schema asks for.
OPTIONS = {
    "timeseries": {
        "legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
    "stat": {
        "reduceOptions": LAST,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    },
    "bargauge": {
        "reduceOptions": LAST,
        "orientation": "horizontal",
        "displayMode": "gradient",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
    },
}
#: What a field of each kind has of its own.
CUSTOM = {
    "timeseries": {"fillOpacity": 10, "showPoints": "never"},
    "table": {"align": "auto", "inspect": False},
    "stat": {},
    "bargauge": {},
}


def defaults(panel):
    colours = ["green", "orange", "red"]
    steps = [{"color": colours[0], "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in zip(colours[1:], panel.steps)]
    if panel.steps and panel.steps[0] > panel.steps[-1]:
        # Fewer is worse.
        steps = [{"color": "red", "value": None}]
        steps += [{"color": colour, "value": value} for colour, value in zip(["orange", "green"], panel.steps[::-1])]
    custom = CUSTOM[panel.kind]
    if panel.stacked:
        custom = custom | {"stacking": {"group": "A", "mode": "normal"}}
    found = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "custom": custom}
    if not panel.steps:
        found["color"] = {"mode": "palette-classic"}
    if panel.decimals is not None:
        found["decimals"] = panel.decimals
    if panel.mappings:
        found["mappings"] = panel.mappings
    return found


def drawn(panel, number, x, y):
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [target(at, query, legend, panel.kind) for at, (query, legend) in enumerate(panel.targets)],
        "fieldConfig": {"defaults": defaults(panel), "overrides": panel.overrides},
        "options": OPTIONS[panel.kind],
        "transformations": panel.transformations,
    }


def laid_out(items):
    """Panels side by side while there is room, then on a new line; a heading always has its own."""
    panels, x, y, tallest = [], 0, 0, 0
    for number, item in enumerate(items, start=1):
        width = COLUMNS if isinstance(item, Row) else item.width
        if x + width > COLUMNS or isinstance(item, Row):
            x, y, tallest = 0, y + tallest, 0
        if isinstance(item, Row):
            place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
            heading = {"id": number, "type": "row", "title": item.title, "collapsed": False}
            panels.append({**heading, "gridPos": place, "panels": []})
            y += 1
        else:
            panels.append(drawn(item, number, x, y))
            x, tallest = x + width, max(tallest, item.height)
    return panels


def query_variable(name, label, query, regex="", multi=True):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": query,
        "regex": regex,
        # When the time range changes: a key that is new must be there.
        "refresh": 2,
        "sort": 1,
        "multi": multi,
        "includeAll": multi,
        "current": {"text": "All", "value": "$__all"} if multi else {"text": "", "value": ""},
        **({"allValue": ".+"} if multi else {}),
    }


DATASOURCE = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}
JOB = query_variable("job", "Job", "label_values(sidelock_build_info, job)", multi=False)
INSTANCE = query_variable("instance", "Gateway", 'label_values(sidelock_build_info{job="$job"}, instance)')
#: Shows titles, and asks by id.
KEY = query_variable(
    "key",
    "Key",
    'query_result(sidelock_key_info{job="$job"})',
    r'/key="(?<value>[^"]+)".*title="(?<text>[^"]*)"/',
)


#: From each of the three to the others.
LINKS = {
    "type": "dashboards",
    "title": "Sidelock",
    "icon": "external link",
    "tooltip": "",
    "tags": ["sidelock"],
    "asDropdown": False,
    "targetBlank": False,
    "keepTime": True,
    "includeVars": True,
}
#: A line in every graph where files were taken into force.
RELOADS = {
    "name": "Reloads",
    "enable": True,
    "iconColor": "blue",
    "datasource": SOURCE,
    "expr": f"changes(sidelock_last_reload_success_timestamp_seconds{{{OWN}}}[$__rate_interval]) > 0",
    "titleFormat": "Files taken into force by {{instance}}",
}


def dashboard(uid, title, description, items, *variables):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["sidelock"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [DATASOURCE, JOB, INSTANCE, *variables]},
        "links": [LINKS],
        "annotations": {"list": [RELOADS]},
        "panels": laid_out(items),
    }


def main():
    import keys
    import overview
    import security

    stale = []
    for made in (overview.DASHBOARD, keys.DASHBOARD, security.DASHBOARD):
        path = HERE / f'{made["uid"].removeprefix("sidelock-")}.json'
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what make.py writes: {', '.join(stale)}")


if __name__ == "__main__":
    # The other files ask for this one by its name.
    sys.modules["make"] = sys.modules["__main__"]
    main()
