"""The files that Grafana reads at its start, besides the dashboards: data sources, folders, rules, contacts.

In all of them Grafana puts environment variables in place of `$NAME`; a `$` of our own is written `$$`.
"""

import json
from collections.abc import Sequence
from typing import Any

import yaml
from grafana_foundation_sdk.builders import alerting
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting as models

from dashboards.influxql import INFLUXDB
from dashboards.pipeline import PROMETHEUS
from dashboards.rules import FOLDER, INTERVAL_S

DASHBOARDS_AT = "/etc/grafana/dashboards"  # where Grafana is to find infra/grafana/dashboards
RULE_FIELDS = ("uid", "title", "condition", "data", "noDataState", "execErrState", "for", "annotations")
EMAIL, WEBHOOK = "pm-stack-smr email", "pm-stack-smr webhook"


def data_sources() -> dict[str, Any]:
    """InfluxDB by InfluxQL (version 2 takes its token in a header; 1.x ignores it), and Prometheus."""
    influxdb = {
        "name": "pm-stack-smr InfluxDB",
        "uid": INFLUXDB.uid,
        "type": INFLUXDB.type_val,
        "access": "proxy",
        "url": "$INFLUXDB_URL",
        "isDefault": True,
        "editable": False,
        "jsonData": {
            "version": "InfluxQL",
            "dbName": "$INFLUXDB_BUCKET",
            "httpMode": "POST",
            "timeInterval": "1s",
            "httpHeaderName1": "Authorization",
        },
        "secureJsonData": {"httpHeaderValue1": "Token $INFLUXDB_TOKEN"},
    }
    prometheus = {
        "name": "pm-stack-smr Prometheus",
        "uid": PROMETHEUS.uid,
        "type": PROMETHEUS.type_val,
        "access": "proxy",
        "url": "$PM_PROMETHEUS_URL",
        "editable": False,
        "jsonData": {"httpMethod": "POST", "timeInterval": "15s"},
    }
    return {"apiVersion": 1, "datasources": [influxdb, prometheus]}


def folders() -> dict[str, Any]:
    """Each folder under `dashboards/` becomes one of Grafana's."""
    provider = {
        "name": "pm-stack-smr",
        "type": "file",
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": DASHBOARDS_AT, "foldersFromFilesStructure": True},
    }
    return {"apiVersion": 1, "providers": [provider]}


def alert_rules(rules: Sequence[alerting.Rule]) -> dict[str, Any]:
    """All rules in one group, in a folder of their own."""
    found = [_rule(rule.build()) for rule in rules]
    group = {
        "orgId": 1, "name": "pm-stack-smr", "folder": FOLDER, "interval": f"{INTERVAL_S}s", "rules": found,
    }  # fmt: skip
    return {"apiVersion": 1, "groups": [group]}


def contact_points() -> dict[str, Any]:
    """Addresses come from the environment of Grafana."""
    points: list[models.ContactPoint] = [
        alerting.ContactPoint()
        .name(EMAIL)
        .uid("pm-email")
        .type("email")
        .settings({"addresses": "$PM_GRAFANA_EMAIL_TO", "singleEmail": True})
        .build(),
        alerting.ContactPoint()
        .name(WEBHOOK)
        .uid("pm-webhook")
        .type("webhook")
        .settings({"url": "$PM_GRAFANA_WEBHOOK_URL", "httpMethod": "POST"})
        .build(),
    ]
    made = []
    for point in points:
        told = _plain(point)
        name = told.pop("name")
        made.append({"orgId": 1, "name": name, "receivers": [told]})
    return {"apiVersion": 1, "contactPoints": made}


def policies() -> dict[str, Any]:
    """Warnings by email, alarms by email and webhook; one notice a reactor rather than one a component."""
    alarms: dict[str, Any] = {
        "receiver": WEBHOOK,
        "object_matchers": [["product", "=", "pm-stack-smr"], ["severity", "=", "alarm"]],
        "continue": True,
    }
    every = {"receiver": EMAIL, "object_matchers": [["product", "=", "pm-stack-smr"]]}
    root = {
        "orgId": 1, "receiver": EMAIL, "group_by": ["grafana_folder", "alertname", "site_id", "reactor_id"],
        "group_wait": "10s", "group_interval": "1m", "repeat_interval": "4h", "routes": [alarms, every],
    }  # fmt: skip
    return {"apiVersion": 1, "policies": [root]}


def as_yaml(document: dict[str, Any]) -> str:
    """As it stands in the file."""
    head = "# Written by `make dashboards` from dashboards/. Edit there.\n"
    return head + yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def _rule(rule: models.Rule) -> dict[str, Any]:
    told = _plain(rule)
    kept = {name: told[name] for name in (*RULE_FIELDS, "labels", "isPaused")}
    escaped: dict[str, Any] = json.loads(json.dumps(kept).replace("$", "$$"))
    return escaped


def _plain(built: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
    return found
