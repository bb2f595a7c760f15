"""History over months: what a bucket keeps, where a gap is, what is refused."""

import asyncio
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from control_plane.api.long_history import POINTS_MAX, HistoryDesk, Span
from control_plane.sinks.component_rows import ComponentRows
from shared.errors import Rejected
from shared.schemas import RulState
from tests.support.console_lake import EXCHANGER, PUMP, ConsoleLake, fleet, prediction, telemetry

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def flow(seconds: float, value: float):
    return telemetry(PUMP, at(seconds), metrics={"flow_rate": value})


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> HistoryDesk:
    """An hour at 1 Hz with one spike, a silence of 10 minutes in its middle, and a neighbour."""
    lake = ConsoleLake(tmp_path_factory.mktemp("lake")).create()
    seconds = [*range(1500), *range(2100, 3600)]
    lake.write(*(flow(s, 9_000.0 if s == 1234 else 412.0 + s % 2) for s in seconds))
    lake.write(*(telemetry(EXCHANGER, at(s)) for s in range(100)))
    lake.write(telemetry(PUMP._replace(reactor_id="R2"), at(0), metrics={"flow_rate": -5.0}))
    lake.write(*(prediction(PUMP, at(s), rul=100.0 - s / 60) for s in range(0, 600, 10)))
    lake.write(*(prediction(PUMP, at(s), rul=None, state=RulState.WITHHELD) for s in range(600, 900, 10)))
    lake.write(prediction(PUMP, at(5), rul=1.0, mode="shadow"))
    return HistoryDesk(lake.folder, fleet())


def asked(desk: HistoryDesk, start: float, end: float, points: int = 60, key=PUMP):
    return asyncio.run(desk.history(key, Span(at(start), at(end), points)))


def series(found, name: str):
    return next(each for each in found.series if each.name == name)


def test_a_spike_of_one_row_is_there_however_long_the_span(desk):
    """No spike vanishes: a bucket's highest value is that of its rows, and its mean is not."""
    for points in (10, 60, POINTS_MAX):
        found = asyncio.run(desk.history(PUMP, Span(at(-86_400 * 300), at(86_400), points)))
        flow_rate = series(found.telemetry, "flow_rate")
        assert max(v for v in flow_rate.high if v is not None) == 9_000.0
        assert min(v for v in flow_rate.low if v is not None) == 412.0
        assert len(found.telemetry.time_ms) <= points + 1  # and a gap
    assert max(v for v in flow_rate.mean if v is not None) < 9_000.0


def test_a_silence_is_a_gap_and_nothing_else_is(desk):
    """A gap stands where nothing arrived, whatever the width of a bucket."""
    for points in (30, 240):
        found = asked(desk, 0, 3600, points).telemetry
        gaps = [time_ms for time_ms, rows in zip(found.time_ms, found.rows, strict=True) if rows == 0]
        assert gaps == [int(at(1499).timestamp() * 1000) + 1]
        assert series(found, "flow_rate").mean[found.time_ms.index(gaps[0])] is None
        assert found.time_ms == sorted(found.time_ms)
    assert sum(asked(desk, 0, 3600).telemetry.rows) == 3000


def test_few_rows_come_as_they_are(desk):
    """Zoomed in, each row is a point with its own value and time."""
    found = asked(desk, 1230, 1240)
    assert found.raw
    assert found.telemetry.time_ms == [int(at(s).timestamp() * 1000) for s in range(1230, 1240)]
    flow_rate = series(found.telemetry, "flow_rate")
    assert flow_rate.low == flow_rate.high == flow_rate.mean
    assert flow_rate.mean[4] == 9_000.0
    assert not asked(desk, 0, 3600).raw


def test_rows_that_bunch_up_come_as_they_are_when_they_are_few(desk):
    """A short burst in a long span is not summed up while it fits into the points."""
    assert not asked(desk, 1200, 86_400, points=1_000).raw
    found = asked(desk, 3580, 86_400, points=60)
    assert found.raw
    assert len(found.telemetry.time_ms) == 20


def test_rul_has_its_interval_and_a_withheld_number_is_none(desk):
    """The band holds every interval of its bucket; a shadow's answer shows nowhere."""
    found = asked(desk, 0, 900, points=15).predictions
    rul, low, high = (series(found, name) for name in ("rul", "rul_low", "rul_high"))
    assert rul.high[0] == 100.0
    assert rul.low[0] > 99.0  # the shadow said 1
    assert low.low[0] == pytest.approx(rul.low[0] * 0.8)
    assert high.high[0] == pytest.approx(120.0)
    assert rul.mean[10:] == [None] * 5
    assert series(found, "anomaly_threshold").high[-1] == 3.0


def test_a_neighbour_is_another_history_and_an_empty_span_is_empty(desk):
    """Site, reactor and component each tell rows apart."""
    assert sum(asked(desk, 0, 3600, key=EXCHANGER).telemetry.rows) == 100
    other = asked(desk, 0, 3600, key=PUMP._replace(reactor_id="R2"))
    assert series(other.telemetry, "flow_rate").mean == [-5.0]
    empty = asked(desk, 90_000, 91_000)
    assert empty.telemetry.time_ms == []
    assert empty.predictions.rows == []


@pytest.mark.parametrize(
    ("start", "end", "points"), [(10, 10, 60), (10, 5, 60), (0, 4e8, 60), (0, 60, 9), (0, 60, POINTS_MAX + 1)]
)
def test_a_span_or_points_out_of_bounds_are_refused_in_words(desk, start, end, points):
    """Nothing is asked of the lake before the bounds hold."""
    with pytest.raises(Rejected, match=r"between|before"):
        asked(desk, start, end, points)


def test_only_the_files_of_the_component_and_the_span_are_opened(tmp_path):
    """Partition pruning: damage in another component's, site's or month's files goes unseen."""
    lake = ConsoleLake(tmp_path / "lake").create()
    lake.write(flow(0, 412.0))
    mine = set((tmp_path / "lake").rglob("*.parquet"))
    elsewhere = [telemetry(EXCHANGER, at(0)), telemetry(PUMP._replace(site_id="ID01"), at(0))]
    lake.write(*elsewhere)
    lake.write(flow(86_400 * 40, 1.0))
    for path in set((tmp_path / "lake" / "telemetry").rglob("*.parquet")) - mine:
        path.write_bytes(b"damaged")
    found = asked(HistoryDesk(lake.folder, fleet()), 0, 3600)
    assert series(found.telemetry, "flow_rate").mean == [412.0]


@pytest.mark.parametrize("name", ["a lake", "the plant's"])
def test_a_lake_may_have_any_name(tmp_path, name):
    """No name of a file ends the text of a question."""
    lake = ConsoleLake(tmp_path / name).create()
    lake.write(flow(0, 412.0))
    found = asked(HistoryDesk(lake.folder, fleet()), 0, 3600)
    assert series(found.telemetry, "flow_rate").mean == [412.0]


def test_files_from_before_a_column_was_there_are_read(tmp_path):
    """What came later is empty in them."""
    old = {"site_id": ["TX01"], "component": ["coolant_pump"], "timestamp": [at(0)], "rul": [7.0]}
    write_deltalake(str(tmp_path / "predictions"), pa.table(old), partition_by=["site_id", "component"])
    rows = ComponentRows(tmp_path).rows(
        "predictions", PUMP, (at(0), at(1)), "SELECT site_id, rul, rul_low FROM predictions"
    )
    assert rows == [{"site_id": "TX01", "rul": 7.0, "rul_low": None}]
