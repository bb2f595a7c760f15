"""Plots of a report: round numbers beside the axes, no line where nothing was known."""

import re
from datetime import UTC, datetime

import pytest

from control_plane.report.axes import round_ticks, time_ticks
from control_plane.report.plots import Limit, Moment, Row, intervals, over_time

DAY_MS = 86_400_000
NEW_YEAR_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 97, [0, 50, 100]),
        (0, 4.1, [0, 2, 4, 6]),
        (0, 0.03, [0, 0.01, 0.02, 0.03]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (5, 5, [4, 4.5, 5, 5.5, 6]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert round_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("span_ms", "texts"),
    [
        (30_000, ["01 Jan", "00:00:05", "00:00:10", "00:00:15", "00:00:20", "00:00:25", "00:00:30"]),
        (900_000, ["01 Jan", "00:05", "00:10", "00:15"]),
        (2 * DAY_MS, ["01 Jan", "12:00", "02 Jan", "12:00", "03 Jan"]),
        (9 * DAY_MS, ["01 Jan", "03 Jan", "05 Jan", "07 Jan", "09 Jan"]),
    ],
)
def test_times_are_round_and_say_the_day_at_midnight(span_ms, texts):
    found = [text for _, text in time_ticks(NEW_YEAR_MS, NEW_YEAR_MS + span_ms)]
    assert found == texts


def test_a_line_breaks_where_nothing_was_known():
    """Two runs, two lines; a moment alone is a dot; nothing is drawn over the break."""
    moments = [Moment(0, 5, 4, 6), Moment(1000, 6, 5, 7), Moment(2000, None), Moment(3000, 7, 6, 8)]
    text = over_time("RUL", moments, (0, 4000), [Limit(2, "alarm 2", "alarm")])
    lines = re.findall(r'<path d="M([^"]*)" fill="none"', text)
    assert [line.count("L") for line in lines] == [1, 0]
    assert lines[1].endswith("h0.1")
    assert text.count('opacity="0.28"') == 2
    assert "alarm 2" in text


def test_a_row_without_a_number_has_words_and_no_dot():
    rows = [Row("as loaded", 62, 50, 70, ""), Row("hot <b>", None, None, None, "withheld")]
    text = intervals("RUL", rows, [])
    assert text.count("<circle") == 1
    assert "withheld" in text
    assert "hot &lt;b&gt;" in text


def test_nothing_at_all_is_an_empty_plot():
    assert over_time("RUL", [], (0, 1000)).startswith("<svg")
    assert intervals("RUL", []).startswith("<svg")
