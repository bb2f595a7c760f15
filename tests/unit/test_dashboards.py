"""The dashboards as files: what Grafana would refuse, what a person would miss."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting, units
from grafana_foundation_sdk.models.dashboard import Dashboard

from control_plane.dashboards.faults import fault_rows, read_ledger
from dashboards import provisioning
from dashboards.check import asked, macros
from dashboards.check.compared import differences
from dashboards.check.on_lake import parse
from dashboards.rules import no_data_after_s, rules
from dashboards.written import SINGLE, generated
from shared.errors import ConfigError
from shared.reactor_config import parse_fleet

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "infra/grafana/dashboards").rglob("*.json"))
GRAFANA_UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and name[0] != "_"}
GRID_COLUMNS, UID_CHARS_MAX = 24, 40
SINGLE_JSON = json.loads((ROOT / SINGLE).read_text())

plugins.register_default_plugins()


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dashboard(request):
    return json.loads(request.param.read_text())


def panels(dashboard):
    """All but rows."""
    return [panel for panel in asked._panels(dashboard) if panel["type"] != "row"]


def test_the_sdks_types_read_a_dashboard_and_write_the_same(dashboard):
    """A field that Grafana 11.6 does not know would be lost on the way; annotations' targets are of
    InfluxDB's data source, which the SDK does not know."""
    for annotation in dashboard["annotations"].get("list") or ():
        del annotation["target"]
    again = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))
    for annotation in again["annotations"].get("list") or ():
        annotation.pop("target", None)
    assert again == dashboard


def test_every_panel_says_what_it_shows_in_a_unit_that_grafana_has(dashboard):
    """Title, description, a word for no data, a unit id of Grafana's or a plain suffix."""
    for panel in panels(dashboard):
        assert len(panel["description"]) > 20, panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["noValue"]
        unit = defaults.get("unit", "none")
        assert unit in GRAFANA_UNITS or unit.startswith("suffix:"), panel["title"]


def test_every_series_of_a_line_panel_has_a_name(dashboard):
    """No legend reads `prediction.mean {component: ...}`."""
    for panel in panels(dashboard):
        if panel["type"] == "timeseries":
            assert all(target.get("alias") or target.get("legendFormat") for target in panel["targets"])


def test_panels_lie_side_by_side_and_none_on_another(dashboard):
    """Nothing hangs out of the grid or covers a neighbour."""
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= GRID_COLUMNS
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_red_and_orange_mean_alarm_and_warning_alone(dashboard):
    """A fixed colour that a series has by name is red or orange only where it is a limit or a bad value."""
    for panel in panels(dashboard):
        for override in panel["fieldConfig"]["overrides"]:
            for found in override["properties"]:
                if found["id"] == "color" and found["value"].get("fixedColor") in ("red", "orange"):
                    assert re.match(r"warning at|alarm at|threshold", override["matcher"]["options"])


def test_uids_are_grafanas_and_links_lead_somewhere():
    """Each dashboard has its own id, and a link names one that is there."""
    uids = [json.loads(path.read_text())["uid"] for path in FILES]
    assert len(set(uids)) == len(uids)
    assert max(map(len, uids)) <= UID_CHARS_MAX
    linked = {uid for path in FILES for uid in re.findall(r'"/d/([\w-]+)', path.read_text())}
    assert linked <= set(uids)
    assert linked


def test_sites_reactors_and_components_depend_on_each_other():
    """Each list is narrowed by what stands to its left."""
    for path in FILES:
        found = {v.name: v.query for v in asked.variables(json.loads(path.read_text()))}
        if "component" in found:
            assert "${site:regex}" in found["reactor"]
            assert "${site:regex}" in found["component"]
            assert "${reactor:regex}" in found["component"]


def test_the_lines_of_rul_stand_at_the_configured_thresholds():
    """Another threshold in the configuration is another line, colour and rule."""
    document = {"S1": {"R1": {"coolant_pump": {"thresholds": {"rul_warning": 44, "rul_alarm": 11}}}}}
    made = {path.name: text for path, text in generated(parse_fleet(document, "test")).items()}
    pump = made["coolant-pump.json"]
    assert '0 * count(\\"anomaly_score\\") + 44 AS \\"warning at 44\\"' in pump
    assert '0 * count(\\"anomaly_score\\") + 11 AS \\"alarm at 11\\"' in pump
    assert "+ 25" not in pump
    assert "warning at 25" in made["heat-exchanger.json"]


def test_components_with_thresholds_of_their_own_have_rules_of_their_own():
    """Each rule asks for those components alone that have its threshold."""
    own = {"thresholds": {"rul_warning": 44}}
    fleet = parse_fleet({"S1": {"R1": {"coolant_pump": own, "heat_exchanger": {}}}}, "test")
    warnings = [rule.build() for rule in rules(fleet) if "warning" in rule.build().title]
    told = {rule.title: rule.data[0].model.to_json()["query"] for rule in warnings}
    assert "\"component\" = 'coolant_pump'" in told["RUL warning: at or under 44 cycles"]
    assert "heat_exchanger" not in told["RUL warning: at or under 44 cycles"]
    assert "\"component\" = 'heat_exchanger'" in told["RUL warning: at or under 25 cycles"]


def test_silence_is_told_after_three_polls_but_never_before_ingest_can_have_brought_them():
    """A reactor that is polled every minute is silent after three; one polled ten times a second after 3."""
    assert [no_data_after_s(period) for period in (60, 1.0, 0.1)] == [180, 3, 3]


def test_every_reactor_has_a_rule_for_its_silence():
    """The repository's fleet: none is left out, and silence itself fires."""
    found = asked.rules(ROOT / "infra/grafana/provisioning/alerting/rules.yaml")
    silent = {rule.uid for rule in found if rule.silence == "Alerting"}
    assert silent == {f"pm-no-data-{place}" for place in ("TX01-R1", "TX01-R2", "ID01-R1", "RIG01-LOOP1")}


def test_a_dollar_of_ours_is_not_taken_for_a_variable_of_the_environment():
    """Grafana expands $NAME in provisioned rules: queries and templates must write $$."""
    text = (ROOT / "infra/grafana/provisioning/alerting/rules.yaml").read_text()
    assert "$$timeFilter" in text
    assert "$$labels.site_id" in text
    assert not re.search(r"(?<!\$)\$(?!\$)", text)


def test_rules_and_contact_points_are_as_the_sdks_types_have_them():
    """Every field of theirs is one that Grafana's provisioning knows."""
    document = provisioning.alert_rules(rules(parse_fleet({"S1": {"R1": {"coolant_pump": {}}}}, "test")))
    known = set(alerting.Rule().to_json()) | {"annotations", "labels", "uid", "isPaused"}
    for rule in document["groups"][0]["rules"]:
        assert set(rule) <= known
        assert [alerting.Query.from_json(each).to_json()["refId"] for each in rule["data"]] == ["A", "B", "C"]
    receivers = [r for point in provisioning.contact_points()["contactPoints"] for r in point["receivers"]]
    assert [r["settings"].get("url") or r["settings"]["addresses"] for r in receivers] == [
        "$PM_GRAFANA_EMAIL_TO",
        "$PM_GRAFANA_WEBHOOK_URL",
    ]


def test_what_a_shadow_says_is_shown_and_told_nowhere():
    """Every query of predictions asks for the active model's alone."""
    found = [each.query for path in FILES for each in asked.queries(json.loads(path.read_text()))]
    found += [rule.query for rule in asked.rules(ROOT / "infra/grafana/provisioning/alerting/rules.yaml")]
    predictions = [query for query in found if 'FROM "prediction"' in query]
    assert len(predictions) > 50
    assert all("\"mode\" = 'active'" in query for query in predictions)


def test_no_secret_and_no_address_stands_in_the_data_sources():
    """They come from the environment of Grafana."""
    found = yaml.safe_load((ROOT / "infra/grafana/provisioning/datasources/pm-stack-smr.yaml").read_text())
    assert [source["url"] for source in found["datasources"]] == ["$INFLUXDB_URL", "$PM_PROMETHEUS_URL"]
    assert found["datasources"][0]["secureJsonData"] == {"httpHeaderValue1": "Token $INFLUXDB_TOKEN"}


def test_the_one_json_asks_for_its_data_sources_and_asks_the_same_questions():
    """PRD 6, manual import: nothing in it names a data source that only provisioning makes."""
    text = json.dumps(SINGLE_JSON)
    assert [each["name"] for each in SINGLE_JSON["__inputs"]] == ["DS_INFLUXDB", "DS_PROMETHEUS"]
    assert '"pm-influxdb"' not in text
    assert '"pm-prometheus"' not in text
    single = {each.query.replace("${one_", "${") for each in asked.queries(SINGLE_JSON)}
    apart = [each for path in FILES for each in asked.queries(json.loads(path.read_text()))]
    assert {each.query for each in apart if " / annotation " not in each.place} <= single
    named = set(re.findall(r"\$\{(\w+):regex\}", text))
    assert named <= {variable.name for variable in asked.variables(SINGLE_JSON)}


def test_export_writes_the_committed_json(tmp_path, capsys):
    """`control-plane dashboards export` needs no SDK: it hands out what was generated."""
    from control_plane.commands.dashboards import export

    output = tmp_path / "dashboard" / "grafana_config.json"
    export(output)
    assert json.loads(output.read_text()) == SINGLE_JSON
    assert str(output) in capsys.readouterr().out


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_macros_are_put_in_place_as_grafana_does():
    """Times in milliseconds, several values as an alternation, special characters escaped."""
    span = macros.Range(NOON - timedelta(hours=1), NOON)
    query = 'WHERE "site_id" =~ /^${site:regex}$/ AND $timeFilter GROUP BY time($__interval)'
    assert macros.influxql(query, {"site": ["A.1", "B"]}, span, 60) == (
        'WHERE "site_id" =~ /^(A\\.1|B)$/ AND time >= 1767265200000ms and time <= 1767268800000ms '
        "GROUP BY time(60s)"
    )
    with pytest.raises(ValueError, match=r"\$panel is nothing that Grafana knows"):
        macros.influxql("SELECT $panel", {}, span, 60)


def test_backslashes_are_doubled_in_promql():
    """A string of PromQL takes no `\\.`; Prometheus refuses it."""
    found = macros.promql('up{instance=~"$instance"}[$__range]', {"instance": ["a.b:1"]}, 60, 4)
    assert found == 'up{instance=~"a\\\\.b:1"}[60s]'


def test_a_query_of_another_kind_is_refused_and_not_guessed_at():
    """The comparison with the lake would else be one of nothing."""
    with pytest.raises(ValueError, match="no query of ours"):
        parse('SELECT mean("rul") FROM "prediction" SLIMIT 3')


def test_a_number_that_differs_or_is_missing_is_told():
    """What the check is for."""
    key, other = (("a",), 0), (("a",), 1)
    assert differences({key: (1.0,)}, {key: (1.0 + 1e-12,)}) == ""
    assert differences({key: (1.0,)}, {key: (1.01,)}).startswith("1 of 1 differ")
    assert differences({key: (1.0,)}, {key: (1.0,), other: (2.0,)}).startswith("1 of 2 differ")
    assert differences({}, {key: (1.0,)}).startswith("1 of 1 differ")


def entry(cycle: int, fault: str | None, key: str = "TX01/R1/coolant_pump") -> str:
    when = (NOON + timedelta(seconds=cycle)).isoformat()
    return json.dumps({"time": when, "key": key, "cycle": cycle, "labels": {"fault": fault}}) + "\n"


def test_a_fault_is_marked_where_it_begins_and_again_when_it_comes_back():
    """One mark a fault, not one a cycle; each component for itself."""
    lines = [entry(0, None), entry(1, "leak"), entry(1, "leak", "TX01/R2/coolant_pump")]
    lines += [entry(2, "leak"), entry(3, None), entry(4, "leak"), entry(5, "spike")]
    found = list(fault_rows(read_ledger(lines, "x")))
    assert [(row["reactor_id"], row["cycle"], row["fault"]) for row in found] == [
        ("R1", 1, "leak"),
        ("R2", 1, "leak"),
        ("R1", 4, "leak"),
        ("R1", 5, "spike"),
    ]


def test_a_torn_last_line_is_left_out_and_another_file_is_refused():
    """A plant may be writing; but what is no ledger is not read as an empty one."""
    assert len(list(read_ledger([entry(0, None), entry(1, "leak")[:20]], "x"))) == 1
    with pytest.raises(ConfigError, match="line 1 is no entry of a plant's ledger"):
        list(read_ledger(['{"a": 1}\n', entry(0, None)], "x"))
