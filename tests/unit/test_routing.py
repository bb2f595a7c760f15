"""Routing by content: declared in a file, first rule that fits, the lake always."""

from pathlib import Path

import pytest

from control_plane.ingest.routed import Routed
from control_plane.ingest.routing import EVERYWHERE, Routes, load_routes
from control_plane.sinks.arrival import Arrival
from shared.envelope import Envelope
from shared.errors import ConfigError
from shared.reactor_config import parse_fleet
from shared.schemas import Telemetry, utc_now

FLEET = parse_fleet({"TX01": {"R1": {"coolant_pump": {}, "heat_exchanger": {}}}}, "test")
RULES = """
routes:
  - match: {component_type: coolant_pump, schema: "telemetry/*"}
    to: [lake, scoring]
  - match: {site: "TX*", component: "heat_*"}
    to: [lake]
  - match: {site: "TX*"}
    to: [lake, influx]
"""


def routes(folder: Path, text: str = RULES) -> Routes:
    path = folder / "routes.yaml"
    path.write_text(text)
    return load_routes(path, FLEET)


def test_a_record_goes_where_the_first_rule_that_fits_says(tmp_path):
    """By component type, component, site and schema; without a rule that fits, everywhere but to scoring."""
    of = routes(tmp_path).sinks_of
    assert of("telemetry/1", "TX01/R1/coolant_pump") == {"lake", "scoring"}
    assert of("alert/1", "TX01/R1/coolant_pump") == {"lake", "influx"}
    assert of("telemetry/1", "TX01/R1/heat_exchanger") == {"lake"}
    assert of("status/1", "TX01") == {"lake", "influx"}
    assert of("telemetry/1", "ID01/R1/coolant_pump") == EVERYWHERE == {"lake", "influx", "alerts"}
    assert Routes().sinks_of("telemetry/1", "TX01/R1/coolant_pump") == EVERYWHERE


def test_a_sink_gets_its_part_of_a_batch_in_order(tmp_path):
    """What is routed elsewhere does not reach it, and an empty part does not either."""
    kept: list[list[str]] = []

    class Kept:
        def accept(self, batch) -> None:
            kept.append([a.record.component for a in batch])

    def arrival(component: str, seq: int) -> Arrival:
        record = Telemetry(
            timestamp=utc_now(), site_id="TX01", reactor_id="R1", component=component, metrics={}
        )
        return Arrival(record, b"", Envelope(record.SCHEMA, "TX01", "s", seq, "c"))

    routed = Routed("influx", Kept(), routes(tmp_path))
    routed.accept([arrival("turbine", 1), arrival("heat_exchanger", 2), arrival("valve", 3)])
    routed.accept([arrival("heat_exchanger", 4)])
    assert kept == [["turbine", "valve"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("routes: [{to: [influx]}]", "routes.0.to: Value error, the lake is left out"),
        ("routes: [{to: [lake, redis]}]", "'lake', 'influx', 'alerts' or 'scoring'"),
        ("routes: [{match: {region: x}, to: [lake]}]", "routes.0.match.region: Extra inputs"),
        (
            "routes: [{match: {component_type: pump}, to: [lake]}]",
            "'pump' fits no component; the fleet has c",
        ),
        ("routes: [", "the routes cannot be read"),
        ("- a", "the file: Input should be"),
        ("routes: []\n" + "#" * 70_000, "is longer than 65536 bytes"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_what_would_be_right(tmp_path, text, told):
    """Every problem is named with its place in the file; a rule cannot leave the lake out."""
    with pytest.raises(ConfigError, match=r"routes\.yaml") as caught:
        routes(tmp_path, text)
    assert told in str(caught.value)
