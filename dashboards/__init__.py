"""Grafana's dashboards, data sources and alert rules, written from typed Python.

Enters: `reactor_config.yaml` (names, units, thresholds, poll periods). Leaves: the files of `infra/grafana/`
and the one JSON that `control-plane dashboards export` hands out (`make dashboards`; a test compares them
with what is committed). Never: anything at run time. The Foundation SDK is a development dependency.
"""
