"""`control-plane report`: one page whose numbers are the lake's, the list's and the record's."""

import html
import re
from datetime import timedelta

import pytest

from control_plane.audit.centre_log import CentreAct
from control_plane.commands.report import report
from control_plane.layout import Layout
from control_plane.report.facts import gather
from control_plane.report.page import page as written_page
from control_plane.sinks.lake import LakeReader
from shared.errors import Rejected
from shared.schemas import AlertState, AuditEvent, ModelRef, Quality, RulState, Severity, utc_now
from tests.support import golden
from tests.support.audited_centre import AuditedCentre
from tests.support.console_lake import (
    CONFIG,
    EXCHANGER,
    PUMP,
    ConsoleLake,
    alert,
    fleet,
    prediction,
    status,
    telemetry,
)
from tests.support.people import REYES
from tests.support.releases import Centre

NOW = utc_now()
POLLS, TIMED_OUT, WITHHELD = 60, 6, 12
SILENT = "ID01/R1/coolant_pump"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """A pump's minute up to now: polls without vibration, answers withheld, one alarm; all audited."""
    folder = tmp_path_factory.mktemp("centre")
    made = Centre(folder)
    manifest, graph = golden.release()
    made.publish(manifest, graph)
    record = AuditedCentre(made.layout.data_dir)
    ref = ModelRef(name=manifest.name, version=manifest.version, sha256=manifest.sha256)
    lake, rows = ConsoleLake(made.layout.lake), []
    for number in range(POLLS):
        when = NOW - timedelta(seconds=POLLS - number - 1)
        bad = {"vibration_rms": Quality.TIMEOUT} if number < TIMED_OUT else {}
        state = RulState.WITHHELD if number < WITHHELD else RulState.OK
        answer = prediction(PUMP, when, number, 118.0 - number, state).model_copy(update={"model": ref})
        entry = record.log.append(AuditEvent.PREDICTION, answer.key, when, prediction=answer)
        rows += [telemetry(PUMP, when, number, quality=bad), answer, entry]
    rows.append(record.log.append(AuditEvent.ALERT, PUMP.key, NOW))
    shadow = prediction(PUMP, NOW, POLLS, 7.0, mode="shadow")
    lake.write(*rows, shadow, record.log.checkpoint(NOW), status("TX01", NOW))
    lake.write(
        alert(
            PUMP, NOW - timedelta(seconds=20), severity=Severity.WARNING, message="RUL 24 cycles, limit 25"
        ),
        alert(PUMP, NOW, state=AlertState.ESCALATED, message=HOSTILE),
    )
    for place, note in ((PUMP, "crew is on its way"), (EXCHANGER, "another's")):
        made.layout.centre_log().note(
            CentreAct.ALERT_ACKNOWLEDGED, "a1", by=REYES, note=note, component=place.key
        )
    record.look()
    (folder / "fleet.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def page(centre):
    """The report of the moment in which the newest reading came."""
    facts = gather(Layout(centre / "centre"), fleet(), PUMP, NOW, lambda _: None)
    return written_page(facts, "a command")


def words(page):
    """What a person reads."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_numbers_are_the_lakes(centre, page):
    """Newest RUL with its interval, answers by state, polls, share bad and its reasons, alarms, rows."""
    lake = LakeReader(Layout(centre / "centre").lake)
    [newest] = lake.rows(
        "SELECT rul, rul_low, rul_high FROM predictions WHERE site_id = 'TX01' AND reactor_id = 'R1' "
        "AND component = 'coolant_pump' AND mode = 'active' ORDER BY timestamp DESC LIMIT 1"
    )
    [polls] = lake.rows("SELECT count(*) AS rows FROM telemetry WHERE site_id = 'TX01' AND reactor_id = 'R1'")
    text = words(page)
    assert f"RUL {newest['rul']:.0f} cycles." in text
    assert f"Interval {newest['rul_low']:.0f} to {newest['rul_high']:.0f}." in text
    assert f"{polls['rows']} polls." in text
    assert f"withheld input unlike the training data {WITHHELD} {WITHHELD / POLLS:.1%}" in text
    assert f"ok {POLLS - WITHHELD} {1 - WITHHELD / POLLS:.1%}" in text
    assert f"Casing vibration velocity 2.31 mm/s {TIMED_OUT / POLLS:.2%} {TIMED_OUT} timeout" in text
    assert "1 in the lake." in text
    assert f"{POLLS + 1} predictions of this component in the lake, {POLLS} on the site's audit log." in text


def test_each_change_of_an_alarm_has_the_severity_of_then(page):
    """A warning that became an alarm says both, newest first; who acknowledged it, the centre's record."""
    changes = words(page).partition("Each change")[2]
    assert re.search(
        rf"acknowledged alarm {re.escape(HOSTILE)} {re.escape(REYES)}: crew is on its way a1 "
        rf"\S+ \S+ escalated alarm {re.escape(HOSTILE)} a1 \S+ \S+ raised warning RUL 24 cycles, limit 25 a1",
        changes,
    ), changes
    assert "another's" not in page


def test_what_it_shows_is_proven(page):
    """The release by its bytes with its metrics and training data; the log as recomputed; the site's rows."""
    manifest, text = golden.release()[0], words(page)
    assert manifest.sha256 in text
    assert manifest.training_data_version in text
    assert f"mae_cycles {manifest.metrics['mae_cycles']:.4g}" in text
    assert f"TX01 lake {POLLS + 1} 1" in text
    assert text.count(" 0 holds") == 2
    assert "store-TX01" in text


def test_a_shadow_is_not_drawn_and_a_withheld_number_breaks_the_line(page):
    """The plot of the RUL has the active model's numbers alone: one line, from the first that was given."""
    plot = re.search(r"<svg.*?</svg>", page, re.S).group()
    [line] = re.findall(r'<path d="M([^"]*)" fill="none"', plot)
    assert len(line.split("L")) == POLLS - WITHHELD


def test_the_page_stands_alone(page):
    """No script, nothing fetched, and what came from a plant is text."""
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert html.escape(HOSTILE) in page
    assert not re.search(r"(src|href)=|url\(|@import|https?:", page)


def test_a_component_that_is_not_there_is_named(centre):
    with pytest.raises(Rejected, match=r"no component TX01/R9/x in the configuration; there are TX01/R1/"):
        report("TX01/R9/x", centre / "centre", centre / "no.html", centre / "fleet.yaml")


def test_what_never_spoke_has_a_report_all_the_same(centre):
    """Nothing arrived from it: said so, without a plot and without an error; and the command that said it."""
    path = centre / "silent.html"
    report(SILENT, centre / "centre", path, centre / "fleet.yaml")
    text = words(path.read_text())
    assert "No data yet." in text
    assert f"by control-plane report {SILENT} --data-dir {centre / 'centre'} --to {path}" in text
    assert "No model has scored this component." in text
