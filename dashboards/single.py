"""All dashboards as one, for a manual import (PRD 6): Grafana's page asks for the data sources."""

import copy
import json
from collections.abc import Sequence
from typing import Any

from dashboards.influxql import INFLUXDB
from dashboards.pages import TAG
from dashboards.pipeline import PROMETHEUS

UID = "pm-stack-smr"
INPUTS = {INFLUXDB.uid: "DS_INFLUXDB", PROMETHEUS.uid: "DS_PROMETHEUS"}


def single(pages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A folded row for each panel row of each dashboard; nothing in it is asked before it is opened.

    What one dashboard has one of and another several has two variables here: `site`, and `one_site`.
    """
    found = [_told_apart(page) for page in pages]
    rows = [row for page in found for row in _folded(page)]
    for number, row in enumerate(rows):
        row["gridPos"] = {"h": 1, "w": 24, "x": 0, "y": number}
    made = copy.deepcopy(found[0])
    made |= {
        "uid": UID,
        "title": "pm-stack-smr",
        "description": "Every dashboard of pm-stack-smr in one, for a manual import.",
        "tags": [TAG],
        "links": [],
        "panels": rows,
    }
    made["templating"] = {"list": _firsts(found, "templating")}
    made["annotations"] = {"list": _firsts(found, "annotations")}
    bound: dict[str, Any] = _asking_for_sources(made)
    return {"__inputs": _inputs(), "__requires": _requires()} | bound


def _told_apart(page: dict[str, Any]) -> dict[str, Any]:
    """The dashboard with `one_` before the names of variables that take one value."""
    text = json.dumps(page)
    for variable in page["templating"]["list"]:
        name = variable["name"]
        if not variable["multi"]:
            text = text.replace(f"${{{name}:regex}}", f"${{one_{name}:regex}}")
    found: dict[str, Any] = json.loads(text)
    for variable in found["templating"]["list"]:
        if not variable["multi"]:
            variable |= {"name": f"one_{variable['name']}", "label": f"One {variable['label'].lower()}"}
            variable.pop("regex", None)  # which narrows it to one type of component
    return found


def _folded(page: dict[str, Any]) -> list[dict[str, Any]]:
    """The dashboard's rows with their panels inside; what stands before the first row gets one."""
    rows: list[dict[str, Any]] = []
    for panel in page["panels"]:
        if panel["type"] == "row":
            rows.append({**panel, "title": f"{page['title']}: {panel['title']}", "panels": []})
        else:
            rows = rows or [{"type": "row", "title": page["title"], "panels": []}]
            rows[-1]["panels"].append(panel)
    return [{**row, "collapsed": True, "id": None} for row in rows]


def _firsts(pages: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Variables or annotations, the first of each name."""
    found: dict[str, dict[str, Any]] = {}
    for page in pages:
        for each in page[kind].get("list") or ():
            found.setdefault(each["name"], each)
    return list(found.values())


def _asking_for_sources(value: Any) -> Any:
    match value:
        case {"uid": uid, "type": kind} if uid in INPUTS:
            return {"type": kind, "uid": f"${{{INPUTS[uid]}}}"}
        case dict():
            return {name: _asking_for_sources(part) for name, part in value.items() if part is not None}
        case list():
            return [_asking_for_sources(part) for part in value]
        case _:
            return value


def _inputs() -> list[dict[str, str]]:
    sources = ((INFLUXDB, "InfluxDB (InfluxQL)"), (PROMETHEUS, "Prometheus"))
    return [
        {
            "name": INPUTS[source.uid], "label": label, "description": "", "type": "datasource",
            "pluginId": source.type_val or "", "pluginName": label.split(" ", maxsplit=1)[0],
        }
        for source, label in sources
    ]  # fmt: skip


def _requires() -> list[dict[str, str]]:
    return [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.6.0"}]
