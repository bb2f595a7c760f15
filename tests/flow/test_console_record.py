"""What the console says of the record: proofs that are green, red or not made yet; model cards; routes."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from control_plane.api.audit_desk import AuditDesk, AuditedPrediction
from control_plane.api.desks import Desks
from control_plane.api.fleet_view import FleetView
from control_plane.api.model_cards import ModelDesk
from control_plane.api.record_routes import record_router
from control_plane.audit.witness_rounds import WitnessRounds
from control_plane.layout import Layout
from control_plane.release.image import Candidate
from control_plane.sinks.lake_tables import TABLES
from shared.errors import Rejected
from shared.schemas import ModelRef, PredictionRecord
from tests.support.audited_centre import SITE, AuditedCentre, prediction
from tests.support.console_lake import fleet
from tests.support.releases import Centre, make_release, references, spec, write_release

REPORT = (
    b'{"data_sha256": "dd", "trained_on_it": false, "metrics": {"units": 4}, "importance": {"flow_rate": 7}}'
)
CO_SIGNED, LATER = 12, 3  # entries under a co-signed checkpoint, and entries after it


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A centre with two releases (the first approved with a report), a site that runs one, and its record."""
    centre = Centre(tmp_path_factory.mktemp("made"))
    manifest, model = make_release(
        metrics={"mae_cycles": 9.5, "of_ours_none": 1.0}, references=references(spec())
    )
    release = write_release(centre.folder / "first", manifest, model)
    signer = centre.signer("dave")
    proposal = centre.image.propose(
        [Candidate(release, {"report.json": REPORT})], signer, "less false alarms"
    )
    centre.approve(proposal, "bob", "carol")
    centre.image.publish(proposal, centre.signer("online"))
    centre.publish(*make_release(version=2, bias=5))
    record = AuditedCentre(
        centre.layout.data_dir, ModelRef(name=manifest.name, version=1, sha256=manifest.sha256)
    )
    running = [{"component_type": "coolant_pump", "name": "coolant_pump", "version": 1}]
    key = str(record.log.verifier)
    centre.layout.store().seen(SITE, key, "0.1.0", "s1", [running[0] | {"sha256": manifest.sha256}])
    record.more(CO_SIGNED)
    record.look()
    record.more(LATER)
    return centre.layout.data_dir


@pytest.fixture
def layout(made, tmp_path) -> Layout:
    return Layout(shutil.copytree(made, tmp_path / "centre"))


def looked_up(layout: Layout, number: int) -> AuditedPrediction:
    found = asyncio.run(AuditDesk(layout).prediction(prediction(number).prediction_id))
    assert found is not None
    return found


def states(found: AuditedPrediction) -> dict[str, str]:
    return {step.what: step.state for step in found.steps}


def rewritten(layout: Layout, change) -> None:
    """The lake's predictions, each through `change`; None drops it."""
    path = str(layout.lake / "predictions")
    rows = [change(row) for row in DeltaTable(path).to_pyarrow_table().to_pylist()]
    schema = TABLES[PredictionRecord.SCHEMA].schema
    kept = [row for row in rows if row is not None]
    write_deltalake(path, pa.Table.from_pylist(kept, schema), mode="overwrite")


def test_a_proof_is_green_when_every_step_holds(layout):
    """Entry, window, place, both signatures and the model's bytes; the record stands beside them."""
    found = looked_up(layout, 5)
    assert (found.verdict, found.why) == ("proven", "")
    assert list(states(found)) == [
        "entry on the record", "input window", "place in the log", "the site's signature",
        "the centre's co-signature", "the model's bytes",
    ]  # fmt: skip
    assert set(states(found).values()) == {"holds"}
    assert (found.site_id, found.index, found.covered) == (SITE, 5, CO_SIGNED)
    assert found.prediction is not None
    assert found.prediction.rul == prediction(5).rul


def test_an_entry_that_is_not_co_signed_yet_is_neither_green_nor_red(layout):
    """Newer than the last co-signed checkpoint: nothing is wrong, and nothing is proven."""
    found = looked_up(layout, CO_SIGNED + 1)
    assert found.verdict == "not_checked"
    assert f"covers the first {CO_SIGNED}" in found.why
    assert states(found)["the site's signature"] == "not_checked"


def test_a_changed_window_is_red_and_a_missing_one_is_not_checked(layout):
    """What differs from the record fails; what has not arrived makes no proof green."""
    wanted = prediction(5).prediction_id
    rewritten(layout, lambda row: None if row["prediction_id"] == wanted else row)
    found = looked_up(layout, 5)
    assert (found.verdict, found.why) == ("not_checked", "input window: has not arrived")
    assert states(found)["the centre's co-signature"] == "holds"
    rewritten(layout, lambda row: row | {"window": bytes(256)})
    found = looked_up(layout, 6)
    assert found.verdict == "failed"
    assert states(found)["input window"] == "fails"
    assert states(found)["place in the log"] == "not_checked"


def test_a_changed_model_is_red_and_an_unpublished_one_is_not_checked(layout):
    """The bytes that people approved are those of the record, or the proof says why not."""
    path = layout.repository / "image" / "targets" / "coolant_pump" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    found = looked_up(layout, 5)
    assert (found.verdict, states(found)["the model's bytes"]) == ("failed", "fails")
    shutil.rmtree(layout.repository)
    found = looked_up(layout, 5)
    assert (found.verdict, states(found)["the model's bytes"]) == ("not_checked", "not_checked")


def test_an_entry_changed_in_the_lake_or_a_signature_is_red(layout):
    """The lake's bytes are held against the log; a checkpoint under another key is none."""
    DeltaTable(str(layout.lake / "audit")).update(
        predicate='"index" = 7', updates={"body": "replace(body, 'kg/s', 'kg/h')"}
    )
    assert "holds another entry" in looked_up(layout, 7).why
    (layout.witness / "witness.pem").unlink()  # a new one is made
    found = looked_up(layout, 5)
    assert (found.verdict, states(found)["the centre's co-signature"]) == ("failed", "fails")


def test_a_prediction_of_the_centres_own_inference_is_green_red_or_not_made_yet(layout):
    """The same steps in the centre's own log; the record shows what the service answered."""
    manifest, _ = make_release(
        metrics={"mae_cycles": 9.5, "of_ours_none": 1.0}, references=references(spec())
    )
    with layout.audit_logger() as logger:
        an_id = logger.log_prediction(
            SITE, "R1", "coolant_pump", "1", [[1.0]], 7.25, "2026-01-01T00:00:00Z",
            model_name=manifest.name, model_sha256=manifest.sha256,
        )  # fmt: skip

    def asked() -> AuditedPrediction:
        found = asyncio.run(AuditDesk(layout).prediction(an_id))
        assert found is not None
        return found

    assert (asked().verdict, asked().covered) == ("not_checked", None)
    WitnessRounds(layout, layout.store()).look("inference")
    found = asked()
    assert (found.verdict, found.why) == ("proven", "")
    assert (found.log, found.site_id, found.index, found.covered) == ("inference", SITE, 0, 1)
    assert (found.clock, found.prediction) == (None, None)
    assert found.inference is not None
    assert found.inference.predicted_rul == 7.25
    tile = next((layout.tiles / "inference" / "tile" / "entries").rglob("*.p/*"))
    tile.write_bytes(tile.read_bytes().replace(b"7.25", b"9.25"))
    assert (asked().verdict, states(asked())["place in the log"]) == ("failed", "fails")
    assert states(asked())["the log's signature"] == "not_checked"


def test_a_card_names_who_approved_where_it_runs_and_what_its_numbers_mean(layout):
    """Signatures that hold, of 3 people 2 needed; sites by their own words; the approved report."""
    found = asyncio.run(ModelDesk(layout).cards())
    assert [card.release for card in found.cards] == ["coolant_pump/2", "coolant_pump/1"]
    assert found.problems == []
    card = found.cards[1]
    assert (card.approval.signed, card.approval.threshold) == (["bob", "carol"], 2)
    assert card.approval.could == ["alice", "bob", "carol"]
    assert (card.approval.proposed_by, card.approval.reason) == ("dave", "less false alarms")
    assert [(site.site_id, site.state) for site in card.sites] == [(SITE, "installed")]
    assert "mean error" in card.metrics[0].meaning
    assert card.metrics[1].meaning == ""
    assert card.validation is not None
    assert card.validation.importance == {"flow_rate": 7.0}
    assert {tag.unit for tag in card.tags} == {"bar"}
    assert (found.cards[0].sites, found.cards[0].validation) == ([], None)
    assert any("without metrics" in line for line in found.cards[0].limits)


def test_a_card_shows_no_signature_that_does_not_hold_and_no_report_but_the_approved(layout):
    """What was changed since is named, and no card is made of it."""
    evidence = layout.repository / "evidence" / "coolant_pump" / "1" / "report.json"
    evidence.write_bytes(REPORT.replace(b"7", b"9"))
    found = asyncio.run(ModelDesk(layout).cards())
    assert [card.release for card in found.cards] == ["coolant_pump/2"]
    assert "is not what was approved" in found.problems[0]
    published = sorted((layout.repository / "image" / "metadata").glob("*.targets.json"))
    [newest] = [path for path in published if path.name == "3.targets.json"]
    newest.write_text(newest.read_text().replace('"sig": "', '"sig": "00'))
    found = asyncio.run(ModelDesk(layout).cards())
    assert found.cards[0].approval.signed == []


@pytest.fixture(scope="module")
def asked(made) -> Iterator[Callable[[str], Response]]:
    """What the routes answer, in one loop as in a server."""
    app = FastAPI()
    desks = Desks.over(Layout(made), fleet())
    app.include_router(record_router(FleetView(made / "lake", fleet(), desks.alerts.views), desks))
    client = AsyncClient(transport=ASGITransport(app=app), base_url="http://centre")
    with asyncio.Runner() as loop:
        yield lambda path: loop.run(client.get(path))
        loop.run(client.aclose())


HISTORY = "/api/components/TX01/R1/coolant_pump/history"


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        (f"{HISTORY}?from=2026-01-01T00:00:00Z&to=2026-01-01T00:01:00Z&points=100", 200, '"rows"'),
        (HISTORY, 200, '"rows":[]'),
        ("/api/components/TX01/R9/coolant_pump/history", 404, "this fleet has TX01/R1/coolant_pump"),
        (f"{HISTORY}?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "must be before"),
        (f"{HISTORY}?from=1900-01-01T00:00:00Z", 422, "3660 days"),
        (f"{HISTORY}?from=2026-01-01T00:00:00", 422, "timezone"),
        (f"{HISTORY}?from=yesterday", 422, "datetime"),
        (f"{HISTORY}?points=2001", 422, "2000"),
        (f"{HISTORY}?points=9", 422, "10"),
        (f"/api/audit/predictions?id={prediction(3).prediction_id}", 200, '"verdict":"proven"'),
        ("/api/audit/predictions?id=nobody", 404, "no entry on any record"),
        ("/api/audit/predictions", 422, "missing"),
        (f"/api/audit/predictions?id={'x' * 201}", 422, "200"),
        ("/api/audit/predictions?id=%00", 422, "printable"),
        ("/api/models", 200, '"coolant_pump/2"'),
        ("/api/models/coolant_pump/1", 200, '"signed":["bob","carol"]'),
        ("/api/models/coolant_pump/9", 404, "there are: coolant_pump/2, coolant_pump/1"),
    ],
)
def test_a_route_answers_or_says_what_would_be_right(asked, path, code, says):
    """Every route of the record: its answer, what it does not know, what it refuses."""
    answer = asked(path)
    assert (answer.status_code, says in answer.text) == (code, True), answer.text[:400]


def test_what_is_no_id_is_refused(layout):
    """Bounds hold before the record is searched."""
    for wrong in ("", "x" * 201, "a\nb"):
        with pytest.raises(Rejected, match="printable"):
            asyncio.run(AuditDesk(layout).prediction(wrong))
