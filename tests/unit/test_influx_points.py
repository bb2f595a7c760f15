"""Rows become the points that the dashboards ask for."""

from datetime import UTC, datetime

from control_plane.ingest.metrics import IngestMetrics, IngestState
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.influx_points import fault_line, lines_of
from control_plane.sinks.lake_tables import row
from shared.envelope import Envelope
from shared.schemas import PredictionRecord, Telemetry
from tests.support.console_lake import PUMP, gap, prediction, telemetry

WHEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLACE = "component=coolant_pump,metric_type=sensor,reactor_id=R1,site_id=TX01"


def arrival(record, seq: int = 1) -> Arrival:
    return Arrival(record, record.outgoing().body, Envelope(record.SCHEMA, "TX01", "s", seq, "c"))


def test_what_could_not_be_read_is_a_point_of_its_own_with_every_reason():
    """A poll with bad values: the good ones as telemetry, the bad ones counted and explained; one with none
    leaves no such point."""
    bad = {"motor_current": "timeout", "flow_rate": "out_of_range"}
    record = telemetry(PUMP, WHEN, metrics={"vibration_rms": 2.5}, quality=bad)
    found = lines_of(Telemetry.SCHEMA, row(arrival(record)))
    assert found == [
        f"telemetry,{PLACE} vibration_rms=2.5 1767268800000000001",
        f'quality,{PLACE} bad_values=2i,reasons="flow_rate: out_of_range, motor_current: timeout" '
        "1767268800000000001",
    ]
    good = lines_of(Telemetry.SCHEMA, row(arrival(telemetry(PUMP, WHEN, metrics={"flow_rate": 1.0}))))
    assert [line.split(",")[0] for line in good] == ["telemetry"]


def test_a_poll_without_one_good_value_still_says_why():
    """No telemetry point without a number, but the reason is not lost."""
    record = telemetry(PUMP, WHEN, metrics={}, quality={"flow_rate": "disconnected"})
    (found,) = lines_of(Telemetry.SCHEMA, row(arrival(record)))
    assert found.startswith("quality,")


def test_a_prediction_tells_its_version_as_a_number_and_its_threshold():
    """Of a text InfluxQL cannot find the change, and a score says nothing without its threshold."""
    (line,) = lines_of(PredictionRecord.SCHEMA, row(arrival(prediction(PUMP, WHEN, version=4))))
    assert 'model_version="coolant_pump_rul/4"' in line
    assert ",version=4i" in line
    assert "anomaly_threshold=3" in line


def test_a_fault_marked_twice_is_one_point():
    """`control-plane dashboards faults` may be run as often as one likes."""
    found = {**PUMP._asdict(), "timestamp": WHEN, "seq": 7, "cycle": 7, "fault": "leak"}
    assert fault_line(found) == fault_line(dict(found))
    assert fault_line(found).endswith('cycle=7i,fault="leak" 1767268800000000007')


def test_ingest_counts_records_gap_rows_and_each_sites_newest_time():
    """What the Pipeline dashboard asks of the centre; an older record does not turn a site's clock back."""
    metrics = IngestMetrics()
    older = datetime(2026, 1, 1, tzinfo=UTC)
    metrics.accept([arrival(telemetry(PUMP, WHEN)), arrival(gap("TX01", older, 12))])
    metrics.accept([arrival(telemetry(PUMP, older))])

    class Ingest:
        repeats, dead_letters = 5, 2

    metrics.registry.register(IngestState(Ingest()))
    value = metrics.registry.get_sample_value
    assert value("centre_ingest_records_total", {"schema": "telemetry/1"}) == 2
    assert value("centre_ingest_records_total", {"schema": "alert/1"}) == 0
    assert value("centre_ingest_gap_rows_total", {"reason": "outbox_full"}) == 12
    assert value("centre_ingest_newest_timestamp_seconds", {"site": "TX01"}) == WHEN.timestamp()
    assert value("centre_ingest_repeats_total") == 5
    assert value("centre_ingest_dead_letters_total") == 2
