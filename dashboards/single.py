"""All dashboards as one, for a manual import (PRD 6): Grafana's page asks for the data sources."""

import copy
from collections.abc import Sequence
from typing import Any

from dashboards.influxql import INFLUXDB
from dashboards.pages import TAG
from dashboards.pipeline import PROMETHEUS

UID = "pm-stack-smr"
INPUTS = {INFLUXDB.uid: "DS_INFLUXDB", PROMETHEUS.uid: "DS_PROMETHEUS"}
HEIGHT = "h"


def single(pages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A folded row for each panel row of each dashboard; nothing in it is asked before it is opened.

    The variables allow several values, as the fleet's do; each of a kind of component has its own.
    """
    found = copy.deepcopy(list(pages))
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
    made["templating"] = {"list": _variables(found)}
    made["annotations"] = {"list": _annotations(found)}
    bound: dict[str, Any] = _asking_for_sources(made)
    return {"__inputs": _inputs(), "__requires": _requires()} | bound


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


def _variables(pages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each name; the first that allows several values, without what narrows it to one type."""
    found: dict[str, dict[str, Any]] = {}
    for page in pages:
        for variable in page["templating"]["list"]:
            if variable["multi"]:
                found.setdefault(variable["name"], variable)
    return list(found.values())


def _annotations(pages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each name, by the reactor: the variables are the same."""
    found: dict[str, dict[str, Any]] = {}
    for page in pages:
        for annotation in page["annotations"].get("list") or ():
            found.setdefault(annotation["name"], annotation)
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
