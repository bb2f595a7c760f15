"""Every query that a dashboard or a rule asks, out of the files that Grafana reads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Json = dict[str, Any]


class Asked(NamedTuple):
    """One query: where it stands, of which data source (`influxdb`, `prometheus`), its text, and the
    relative time of its panel."""

    place: str
    source: str
    query: str
    time_from: str | None = None
    repeat: str | None = None


class Variable(NamedTuple):
    """One variable, in the order in which they depend on each other."""

    name: str
    query: str
    regex: str
    several: bool


class Rule(NamedTuple):
    """An alert rule: what it asks over the last `within_s`, when its last number fires, what silence is."""

    uid: str
    query: str
    within_s: int
    kind: str
    limit: float
    silence: str


def dashboards(folder: Path) -> list[Json]:
    """Every dashboard, in a fixed order."""
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]


def queries(dashboard: Json) -> Iterator[Asked]:
    """Of its panels and annotations."""
    title = dashboard["title"]
    for panel in _panels(dashboard):
        for target in panel.get("targets", ()):
            place = f"{title} / {panel['title']} / {target['refId']}"
            yield Asked(
                place, _source(target), target.get("query") or target["expr"], panel.get("timeFrom"),
                panel.get("repeat"),
            )  # fmt: skip
    for annotation in (dashboard.get("annotations") or {}).get("list") or ():
        target = annotation["target"]
        yield Asked(f"{title} / annotation {annotation['name']}", _source(annotation), target["query"])


def variables(dashboard: Json) -> list[Variable]:
    """In order."""
    found = []
    for each in dashboard["templating"].get("list") or ():
        query = each["query"] if isinstance(each["query"], str) else each["query"]["query"]
        found.append(Variable(each["name"], query, each.get("regex") or "", each["multi"]))
    return found


def rules(path: Path) -> list[Rule]:
    """As Grafana reads them: `$$` is a `$` that is not a variable of the environment."""
    document = yaml.safe_load(path.read_text())
    return [_rule(rule) for group in document["groups"] for rule in group["rules"]]


def _rule(rule: Json) -> Rule:
    asked, _, threshold = rule["data"]
    evaluator = threshold["model"]["conditions"][0]["evaluator"]
    return Rule(
        rule["uid"], asked["model"]["query"].replace("$$", "$"), asked["relativeTimeRange"]["from"],
        evaluator["type"], evaluator["params"][0], rule["noDataState"],
    )  # fmt: skip


def _panels(dashboard: Json) -> Iterator[Json]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def _source(of: Json) -> str:
    found: str = of["datasource"]["type"]
    return found
