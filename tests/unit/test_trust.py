"""A number is withheld, and explained, by one rule: sensors first, then the model's own doubt."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from control_plane.training.histories import Unit
from control_plane.training.trust import tag_references
from edge_agent.line import Line, score_together
from edge_agent.scoring import Scorer
from shared import wording
from shared.contributions import EXPLAINED_MAX, TAGS_MAX, contributions, explained
from shared.errors import Rejected
from shared.features import FeatureSpec, fit_normalisation
from shared.interpret import interpret, interpret_many
from shared.normal import normal_window
from shared.onnx_model import OnnxModel
from shared.reactor_config import Tag
from shared.schemas import (
    Calibration,
    ComponentId,
    Contribution,
    Manifest,
    PredictionRecord,
    RulState,
    Window,
    parse_record,
)
from tests.support import golden
from tests.support.releases import make_release, references, spec

PUMP = ComponentId("TX01", "R1", "coolant_pump")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = spec()
TAGS = len(SPEC.tags)
CALIBRATION = Calibration(
    coverage=0.9,
    horizon_cycles=100.0,
    bins=[
        {"upper_cycles": 40.0, "margin_cycles": 2.0, "units": 10},
        {"upper_cycles": 100.0, "margin_cycles": -8.0, "units": 10},
    ],
)
MANIFEST = make_release(
    horizon_cycles=100.0, anomaly_threshold=1.0, calibration=CALIBRATION, references=references(SPEC)
)[0]


def moving_values(count: int = 1) -> np.ndarray:
    """Raw windows of sensors that all move."""
    return np.random.default_rng(0).normal(5, 1, (count, 30, TAGS)).astype(np.float32)


def window(values: np.ndarray) -> Window:
    return Window(PUMP, "coolant_pump", 7, NOW, SPEC.tags, values)


def outputs(rul=(10.0, 20.0, 30.0), anomaly=0.5, ood=0.0, count=1):
    return {
        "anomaly_score": np.full((count, 1), anomaly, np.float32),
        "ood_score": np.full((count, 1), ood, np.float32),
        "rul": np.tile(np.array([rul], np.float32), (count, 1)),
    }


def said(values, manifest=MANIFEST, **change):
    return interpret(outputs(**change), manifest, window(values))


def test_the_interval_is_widened_as_the_release_was_calibrated():
    """Each bin by its own margin, narrower where the margin is below 0."""
    near, far = said(moving_values()[0]), said(moving_values()[0], rul=(40.0, 60.0, 80.0))
    assert (near["rul_low"], near["rul"], near["rul_high"]) == (8.0, 20.0, 32.0)
    assert (far["rul_low"], far["rul"], far["rul_high"]) == (48.0, 60.0, 72.0)
    assert near["raw"]["rul"] == [10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (lambda v: None, None),
        (lambda v: v[:15, 2].fill(np.nan), None),
        (lambda v: v[:16, 2].fill(np.nan), f"sensor_invalid:{SPEC.tags[2]}"),
        (lambda v: v[:, 3].fill(5.25), f"sensor_stuck:{SPEC.tags[3]}"),
        (lambda v: v[1:, 3].fill(5.25), None),  # it moved once
        (lambda v: (v[:20].fill(np.nan), v[20:, 3].fill(5.25)), f"sensor_stuck:{SPEC.tags[3]}"),
        (lambda v: (v[:21].fill(np.nan), v[21:, 3].fill(5.25)), None),  # nine rows tell too little
        (lambda v: v.fill(np.nan), "no_reading"),
        (lambda v: v[:, 0].fill(np.inf), f"sensor_invalid:{SPEC.tags[0]}"),
    ],
)
def test_a_number_from_a_bad_sensor_is_withheld_with_the_reason(change, because):
    """No number for most of the window, or the same one all along, and the tag is named."""
    values = moving_values()[0]
    change(values)
    found = said(values)
    assert found["withheld_because"] == because
    assert found["rul_state"] is (RulState.WITHHELD if because else RulState.OK)
    assert (found["rul"] is not None) is (because is None)


def test_a_bad_sensor_is_named_before_the_model_doubts():
    """An input that is unlike the training data because a sensor is gone is the sensor's fault."""
    values = moving_values()[0]
    assert said(values, ood=1.5)["withheld_because"] == "out_of_distribution"
    values[:, 4] = 7.0
    assert said(values, ood=1.5)["withheld_because"] == f"sensor_stuck:{SPEC.tags[4]}"


def test_a_tag_that_may_stand_still_is_not_stuck():
    """A set point says nothing of a sensor; nor does a release that does not know what moves."""
    values = moving_values()[0]
    values[:, 3] = 5.25
    still = references(SPEC)
    still[SPEC.tags[3]] = still[SPEC.tags[3]].model_copy(update={"stands_still": True})
    for known in (still, {}):
        found = said(values, MANIFEST.model_copy(update={"references": known}))
        assert found["rul_state"] is RulState.OK


NUMBERS = st.floats(-200, 400, width=32)


@settings(deadline=None)
@given(
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    NUMBERS,
    st.floats(0, 2, width=32),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
)
def test_a_withheld_prediction_never_carries_a_number(rul, anomaly, ood, seed, missing):
    """Whatever the graph and the sensors say: an ordered interval within the horizon, or none of it."""
    rng = np.random.default_rng(seed)
    values = rng.choice([1.0, 2.0, np.inf], (30, TAGS), p=[0.8, 0.1, 0.1]).astype(np.float32)
    values[rng.random((30, TAGS)) < missing] = np.nan
    found = said(values, rul=rul, anomaly=anomaly, ood=ood)
    numbers = [found[name] for name in ("rul_low", "rul", "rul_high")]
    if found["rul_state"] is RulState.OK:
        assert 0 <= numbers[0] <= numbers[1] <= numbers[2] <= 100
    else:
        assert numbers == [None] * 3
    assert (found["rul_state"] is RulState.WITHHELD) is bool(found["withheld_because"])
    assert found["rul_state"] is RulState.WITHHELD or ood <= 1.0


def test_a_batch_says_of_each_window_what_it_says_of_it_alone():
    """Rows of a batch do not lean on each other, not even on one that is refused."""
    values = moving_values(4)
    values[1, :16, 0] = np.nan
    values[2] = np.nan
    answers = outputs(count=4)
    answers["rul"][3, 0] = np.inf
    found = interpret_many(answers, MANIFEST, values).each()
    for number in range(3):
        alone = {name: rows[number : number + 1] for name, rows in answers.items()}
        assert found[number] == interpret(alone, MANIFEST, window(values[number]))
    assert isinstance(found[3], Rejected)


# --- which tags it hangs on -------------------------------------------------------------------


class Linear:
    """A stand-in graph: the RUL is linear in four tags, the score a Mahalanobis distance."""

    def __init__(self, tags: int = TAGS) -> None:
        feature_spec = FeatureSpec(component_type="coolant_pump", tags=tuple(f"t{i}" for i in range(tags)))
        self.manifest = make_release(
            feature_spec=feature_spec,
            feature_spec_hash=feature_spec.hash(),
            references=references(feature_spec),
            horizon_cycles=1000.0,
        )[0]
        self.weights = np.zeros(tags)
        self.weights[:4] = [-10.0, 3.0, 1.0, 0.1]
        rng = np.random.default_rng(5)
        half = rng.normal(0, 1, (tags, tags)) / np.sqrt(tags)
        self.precision = half @ half.T + np.eye(tags)
        self.windows: list[int] = []

    def run(self, values):
        self.windows.append(len(values))
        level = np.nan_to_num(np.nanmean(values, axis=1), nan=4.0).astype(np.float64)
        median = 500 + (level - 4.0) @ self.weights
        away = level - 4.1
        score = np.sqrt(np.einsum("nt,tu,nu->n", away, self.precision, away))
        return {
            "rul": np.stack([median - 5, median, median + 5], axis=-1),
            "anomaly_score": score[:, np.newaxis],
            "ood_score": np.zeros((len(values), 1)),
        }


def test_contributions_are_cycles_with_value_and_normal_in_the_tags_unit():
    """The greatest three, greatest first, with the newest good value; what is too small is left out."""
    model = Linear()
    values = np.full((30, TAGS), 4.0, np.float32)
    values[:, :4] = [6.0, 9.0, 3.0, 5.0]
    values[-1, 0] = np.nan
    found = contributions(model, values, "rul")
    assert [(c.tag, round(c.effect, 3)) for c in found] == [("t0", -20.0), ("t1", 15.0), ("t2", -1.0)]
    assert found[0] == Contribution(
        tag="t0", of="rul", effect=found[0].effect, value=6.0, normal=4.0, unit="bar"
    )
    values[:, 0] = 4.0
    assert [c.tag for c in contributions(model, values, "rul")] == ["t1", "t2"]


def test_shares_of_an_anomaly_are_the_exact_parts_of_the_squared_distance():
    """Midpoint gradient times way from normal, computed here from the matrix: equal, and they sum."""
    model = Linear()
    values = moving_values()[0]
    found = {c.tag: c.effect for c in contributions(model, values, "anomaly")}
    level = values.mean(axis=0, dtype=np.float64)
    away, at_normal = level - 4.1, np.full(TAGS, -0.1)
    parts = (away - at_normal) * (model.precision @ (away + at_normal))
    whole = away @ model.precision @ away
    assert parts.sum() == pytest.approx(whole - at_normal @ model.precision @ at_normal)
    expected = sorted(parts / whole, key=abs, reverse=True)[:3]
    assert list(found.values()) == pytest.approx(expected, rel=1e-4)


def test_only_what_matters_is_explained_and_the_cost_is_bounded():
    """The shortest RULs of a batch, before abnormal scores; of a wide component the farthest tags only."""
    model = Linear(tags=3 * TAGS_MAX)
    values = np.random.default_rng(2).normal(4, 1, (20, 30, 3 * TAGS_MAX)).astype(np.float32)
    nothing = {"rul_state": RulState.BEYOND_HORIZON, "is_anomaly": False, "anomaly_score": 0.1}
    abnormal = nothing | {"is_anomaly": True}
    answers = [nothing, abnormal] + [{"rul_state": RulState.OK, "rul": float(n)} for n in range(18, 0, -1)]
    found = explained(model, values, answers)
    assert [n for n, each in enumerate(found) if "contributions" in each] == list(
        range(20 - EXPLAINED_MAX, 20)
    )
    assert model.windows == [2 * TAGS_MAX + 2] * EXPLAINED_MAX
    [_, second] = explained(model, values[:2], answers[:2])
    assert {c.of for c in second["contributions"]} == {"anomaly"}
    model.windows.clear()
    assert explained(model, values[:1], [Rejected("no")])[0].args == ("no",)
    assert model.windows == []


def test_a_release_without_references_is_scored_without_reasons():
    """Older manifests have none: a default, not a refusal."""
    document = json.loads(make_release(horizon_cycles=100.0)[0].model_dump_json())
    del document["references"]
    manifest = Manifest.model_validate(document)
    found = Scorer.load(manifest, make_release()[1]).score(window(moving_values()[0]))
    assert (found.rul_state, found.contributions) == (RulState.OK, [])


def test_a_scored_window_says_which_tags_it_hangs_on():
    """From a release to the record that leaves the site, and back."""
    manifest, model = make_release(horizon_cycles=100.0, references=references(SPEC, normal=-1000.0))
    record = Scorer.load(manifest, model).score(window(moving_values()[0]))
    assert len(record.contributions) == 3
    assert {c.unit for c in record.contributions} == {"bar"}
    assert parse_record(record.SCHEMA, record.outgoing().body) == record


def test_a_record_from_before_these_fields_is_read():
    """What sites sent already stays readable."""
    manifest, model = make_release()
    body = json.loads(Scorer.load(manifest, model).score(window(moving_values()[0])).outgoing().body)
    for name in ("contributions", "withheld_because"):
        body.pop(name, None)
    found = parse_record(PredictionRecord.SCHEMA, json.dumps(body).encode())
    assert (found.contributions, found.withheld_because) == ([], None)


def test_more_than_three_contributions_are_refused():
    """The record is bounded."""
    manifest, model = make_release()
    record = Scorer.load(manifest, model).score(window(moving_values()[0]))
    one = {"tag": "t", "of": "rul", "effect": 1.0, "normal": 0.0, "unit": "bar"}
    document = json.loads(record.outgoing().body) | {"contributions": [one] * 4}
    with pytest.raises(Rejected, match="contributions"):
        parse_record(PredictionRecord.SCHEMA, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "discharge pressure 14.2 bar, 1.1 bar below normal: \N{MINUS SIGN}23 cycles"),
        ({"value": 15.3}, "discharge pressure 15.3 bar, normal: \N{MINUS SIGN}23 cycles"),
        ({"value": 16.0, "effect": 4.4}, "discharge pressure 16 bar, 0.7 bar above normal: +4 cycles"),
        ({"value": None}, "discharge pressure: \N{MINUS SIGN}23 cycles"),
        (
            {"of": "anomaly", "effect": 0.61},
            "discharge pressure 14.2 bar, 1.1 bar below normal: 61% of the anomaly score",
        ),
    ],
)
def test_a_contribution_reads_as_an_operator_says_it(change, words):
    """Value, how far from normal, and what it makes, each with its unit."""
    fields = {
        "tag": "discharge_pressure",
        "of": "rul",
        "effect": -23.2,
        "value": 14.2,
        "normal": 15.3,
        "unit": "bar",
    }
    assert wording.contribution(Contribution(**(fields | change))) == words


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(29, TAGS), (30, TAGS - 1), (0, TAGS)])
def test_a_window_of_another_size_is_rejected(shape):
    """Too short, a column short or empty: refused with what it is and what was wanted."""
    scorer = Scorer.load(*make_release())
    with pytest.raises(Rejected, match=rf"{shape[0]}.*{shape[1]}.*30"):
        scorer.score(window(np.ones(shape, np.float32)))


def test_the_graph_is_not_run_on_what_does_not_fit():
    """OnnxModel refuses by itself too: the centre's inference and a replay call it directly."""
    model = OnnxModel(*make_release())
    with pytest.raises(Rejected, match="no window"):
        model.run(np.empty((0, 30, TAGS), np.float32))
    with pytest.raises(Rejected, match="29"):
        model.run(np.ones((1, 29, TAGS), np.float32))


def test_a_batch_keeps_its_good_windows_beside_those_refused():
    """A wrong window, a right one and one whose score is infinite: three answers, in order."""
    scorer = Scorer.load(*make_release(bias=3e38))
    huge = np.full((30, TAGS), 1e38, np.float32)
    wrong = Window(PUMP, "coolant_pump", 1, NOW, SPEC.tags[::-1], moving_values()[0])
    found = scorer.score_many([wrong, window(moving_values()[0]), window(huge)])
    assert [type(each) for each in found] == [Rejected, PredictionRecord, Rejected]
    assert scorer.score_many([]) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": {"flow": references(SPEC)[SPEC.tags[0]]}}, "the feature spec has"),
        ({"horizon_cycles": 90.0}, "calibrated for a horizon of 100 cycles"),
    ],
)
def test_a_manifest_whose_parts_do_not_fit_is_refused(changes, message):
    """References of other tags, margins of another horizon."""
    fields = MANIFEST.model_dump() | changes
    with pytest.raises(ValidationError, match=message):
        Manifest(**fields)


# --- operating regimes ------------------------------------------------------------------------


def two_regimes() -> FeatureSpec:
    """Load tells half from full; each tag is usual at 10 in one and at 100 in the other."""
    rows = np.repeat([[0.0, 10.0], [1.0, 100.0]], 50, axis=0) + np.random.default_rng(0).normal(
        0, 0.1, (100, 2)
    )
    tags = ("load", "flow")
    fitted = fit_normalisation([rows.astype(np.float32)], tags, ["load"], 2)
    return FeatureSpec(component_type="coolant_pump", tags=tags, normalisation=fitted)


def test_normal_is_what_is_usual_in_the_rows_own_regime():
    """A pump at half load is compared with pumps at half load; what is missing stays missing."""
    feature_spec = two_regimes()
    values = np.array([[0.1, 9.0], [0.9, 80.0], [0.0, np.nan]], np.float32)
    unit = Unit("u", np.array([[0, 10], [0, 12], [1, 100], [1, 104]], np.float32), None, np.ones(4, bool))
    tags = {tag: Tag.model_validate({"unit": "bar", "register": {"address": 1}}) for tag in feature_spec.tags}
    found = tag_references([unit], feature_spec, tags)
    assert (found["flow"].normal, found["flow"].spread) == ((11.0, 102.0), pytest.approx(np.sqrt(2.5)))
    manifest = MANIFEST.model_copy(update={"feature_spec": feature_spec, "references": found})
    assert normal_window(values, manifest)[:, 1].tolist()[:2] == [11.0, 102.0]
    assert np.isnan(normal_window(values, manifest)[2, 1])


def test_references_come_from_normal_cycles_and_know_what_stands_still():
    """Worn cycles do not count as normal; a set point is told from a sensor that always moves."""
    feature_spec = FeatureSpec(component_type="coolant_pump", tags=("moves", "set"))
    values = np.stack([np.arange(20), np.full(20, 3)], axis=1).astype(np.float32)
    values[5, 1] = np.nan
    unit = Unit("u", values, None, np.arange(20) < 10)
    tags = {tag: Tag.model_validate({"unit": "bar", "register": {"address": 1}}) for tag in feature_spec.tags}
    found = tag_references([unit], feature_spec, tags)
    assert (found["moves"].normal, found["moves"].stands_still) == ((4.5,), False)
    assert (found["set"].normal, found["set"].stands_still) == ((3.0,), True)
    values[:, 0] = np.nan
    with pytest.raises(ValueError, match="no training unit has a good value of moves"):
        tag_references([unit], feature_spec, tags)


def test_references_must_have_a_value_for_every_regime():
    """One normal value for two regimes would be wrong in one of them."""
    feature_spec = two_regimes()
    fields = MANIFEST.model_dump() | {"feature_spec": feature_spec, "references": references(feature_spec)}
    with pytest.raises(ValidationError, match="2 normal values, one a regime"):
        Manifest(**fields)


# --- several components of one model ----------------------------------------------------------


def test_components_of_one_model_are_scored_in_one_run_and_keep_their_own_answers(monkeypatch):
    """One run for a poll; each record is what the component alone would have got, bit for bit."""
    manifest, model = golden.release()
    scorer, component = Scorer.load(manifest, model), golden.component()
    ids = [ComponentId("TX01", f"R{number}", "coolant_pump") for number in range(5)]
    lines, alone = [Line(key, component) for key in ids], Line(ids[0], component)
    for line in [*lines, alone]:
        line.use(scorer)
    runs = []
    run = OnnxModel.run
    monkeypatch.setattr(OnnxModel, "run", lambda self, values: runs.append(len(values)) or run(self, values))
    monkeypatch.setattr("shared.contributions.EXPLAINED_MAX", 0)
    for number, reading in enumerate(golden.readings()[:25]):
        due = [line for index, line in enumerate(lines) if index * 5 <= number]  # each begins later
        found = score_together([(line, reading) for line in due])
        expected = score_together([(alone, reading)])[0]
        assert runs == ([] if expected is None else [sum(each is not None for each in found), 1])
        runs.clear()
        if expected is not None:
            assert (found[0].raw, found[0].rul_high) == (expected.raw, expected.rul_high)
        assert [each is None for each in found] == [number - index * 5 < 9 for index in range(len(due))]


def test_a_window_has_the_same_bits_alone_and_among_any_number_of_others():
    """What a poll scored together, a replay computes alone: bit for bit, for a trained network."""
    manifest, model = golden.release()
    ours = OnnxModel(manifest, model)
    values = np.stack([each.values for each in golden.windows_at_the_edge(manifest)])
    alone = [ours.run(values[number : number + 1]) for number in range(20)]
    for count in range(2, 21):
        together = ours.run(values[:count])
        for name, rows in together.items():
            assert len(rows) == count
            assert rows.tobytes() == np.concatenate([each[name] for each in alone[:count]]).tobytes()
