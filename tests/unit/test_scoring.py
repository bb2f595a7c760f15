"""From a window to a prediction: what is loaded, what is said, what is withheld."""

from datetime import UTC, datetime

import numpy as np
import pytest

from edge_agent.line import Line, score_together
from edge_agent.scoring import Scorer
from edge_agent.window import WindowBuffer
from shared.errors import Rejected, Untrusted
from shared.interpret import interpret
from shared.onnx_model import OnnxModel
from shared.reactor_config import parse_fleet
from shared.schemas import AuditEvent, ComponentId, RulState, Telemetry, Window
from tests.support.releases import graph, make_release, spec

PUMP = ComponentId("TX01", "R1", "coolant_pump")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = spec()


def window(values=None, rows=30) -> Window:
    """A window of 5.0s, or of `values`; rows before the first reading are padding."""
    if values is None:
        values = np.full((30, len(SPEC.tags)), 5.0, np.float32)
    values[: 30 - rows] = np.nan
    return Window(PUMP, "coolant_pump", 7, NOW, SPEC.tags, values)


def outputs(rul=(10.0, 20.0, 30.0), anomaly=0.5, ood=0.0):
    return {
        "anomaly_score": np.array([[anomaly]], np.float32),
        "ood_score": np.array([[ood]], np.float32),
        "rul": np.array([rul], np.float32),
    }


MANIFEST = make_release(horizon_cycles=100.0, anomaly_threshold=1.0, ood_threshold=1.0)[0]


def test_a_prediction_says_what_made_it():
    manifest, model = make_release()
    found = Scorer.load(manifest, model).score(window())
    # mean of value 5, change 0, present 1 over three equal groups of features
    assert found.raw["rul"] == pytest.approx([2.0, 3.0, 4.0])
    assert (found.rul_low, found.rul, found.rul_high) == pytest.approx((2.0, 3.0, 4.0))
    assert (found.model.name, found.model.version, found.model.sha256) == ("coolant_pump", 1, manifest.sha256)
    assert found.window == window().blob()
    assert found.window_sha256 == window().sha256()
    assert (found.component_id, found.cycle, found.timestamp) == (PUMP, 7, NOW)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"sha256": "0" * 64}, "sha256"),
        ({"feature_spec_hash": "0" * 64}, "feature spec"),
        ({"outputs": ["anomaly_score", "ood_score", "rul", "more"]}, "model interface"),
        ({"golden_tolerance": 1e-30, "golden": None}, "golden window"),
    ],
)
def test_a_release_that_does_not_fit_is_untrusted(changes, check):
    manifest, model = make_release()
    if "golden" in changes:
        golden = manifest.golden[0]
        shifted = {name: [x + 1e-3 for x in values] for name, values in golden.outputs.items()}
        changes |= {"golden": [golden.model_copy(update={"outputs": shifted})]}
    with pytest.raises(Untrusted) as caught:
        Scorer.load(manifest.model_copy(update=changes), model)
    assert caught.value.check == check


def test_a_model_of_another_spec_is_untrusted_before_it_is_run():
    """At the edge, in the centre's inference and in a replay: its graph takes other features."""
    manifest, _ = make_release()
    other = graph(SPEC.shape[1] + 8)
    with pytest.raises(Untrusted, match=r"takes \[None, 32\] .* its feature spec makes \[30, 24\]") as caught:
        OnnxModel(manifest, other)
    assert caught.value.check == "model interface"
    with pytest.raises(Untrusted, match="made for 000000000000…, this program has"):
        OnnxModel(manifest.model_copy(update={"feature_spec_hash": "0" * 64}), graph(SPEC.shape[1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda golden: {"window": golden.window[:-4]}, "cannot reshape"),
        (lambda golden: {"window": golden.window[: len(golden.window) // 2]}, "15"),
        (lambda golden: {"outputs": {"more": [1.0]}}, "more"),
        (lambda golden: {"outputs": golden.outputs | {"rul": [1.0, 2.0]}}, "2 numbers of rul"),
    ],
)
def test_a_release_whose_golden_window_cannot_be_scored_is_untrusted(change, message):
    """It is refused like any other release: the model in use stays, and the agent goes on."""
    manifest, model = make_release()
    [golden] = manifest.golden
    changed = manifest.model_copy(update={"golden": [golden.model_copy(update=change(golden))]})
    with pytest.raises(Untrusted, match=f"window 0 cannot be scored: .*{message}") as caught:
        Scorer.load(changed, model)
    assert caught.value.check == "golden window"


def test_bytes_that_are_no_model_are_untrusted():
    import hashlib

    manifest, _ = make_release()
    junk = b"\x08\x01junk"
    with pytest.raises(Untrusted, match="model format"):
        Scorer.load(manifest.model_copy(update={"sha256": hashlib.sha256(junk).hexdigest()}), junk)


def test_a_window_of_other_tags_is_rejected():
    scorer = Scorer.load(*make_release())
    other = Window(PUMP, "coolant_pump", 1, NOW, SPEC.tags[::-1], window().values)
    with pytest.raises(Rejected, match="coolant_pump"):
        scorer.score(other)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, RulState.OK),
        ({"rul": (90.0, 96.0, 120.0)}, RulState.BEYOND_HORIZON),
        ({"ood": 1.5}, RulState.WITHHELD),
    ],
)
def test_only_a_number_that_may_be_trusted_is_given(change, state):
    found = interpret(outputs(**change), MANIFEST, window())
    assert found["rul_state"] is state
    assert (found["rul"] is not None) is (state is RulState.OK)
    assert found["raw"]["rul"] == list(change.get("rul", (10.0, 20.0, 30.0)))  # always on the record


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_model_that_gives_no_number_is_rejected(bad):
    with pytest.raises(Rejected, match="gave no finite number for rul"):
        interpret(outputs(rul=(1.0, bad, 3.0)), MANIFEST, window())


def test_a_component_whose_model_gives_no_number_goes_on_being_read():
    component = parse_fleet({"TX01": {"R1": {"coolant_pump": {}}}}, "test").components()[PUMP]
    line = Line(PUMP, component)
    line.use(Scorer.load(*make_release(bias=3e38)))
    for cycle in range(12):
        latest = reading(cycle, value=1e38)
        [answer] = score_together([(line, latest)])
        records, events = line.conclude(latest, answer)
    assert [type(r) for r in records] == [Telemetry]
    assert [e.event for e in events] == [AuditEvent.SCORING_FAILED]
    assert "no finite number" in events[0].detail["reason"]


def reading(cycle: int, value: float) -> Telemetry:
    metrics = dict.fromkeys(SPEC.tags, value)
    return Telemetry(timestamp=NOW, **PUMP._asdict(), cycle=cycle, metrics=metrics, quality={})


def test_a_sensor_that_was_gone_for_half_the_window_withholds_the_number():
    values = np.full((30, len(SPEC.tags)), 5.0, np.float32)
    values[:15, 2] = np.nan
    assert interpret(outputs(), MANIFEST, window(values))["rul_state"] is RulState.OK
    values[15, 2] = np.nan
    found = interpret(outputs(), MANIFEST, window(values))
    assert found["rul_state"] is RulState.WITHHELD
    assert found["missing"] == {SPEC.tags[2]: 16}


def test_padding_is_not_missing():
    assert interpret(outputs(), MANIFEST, window(rows=10))["missing"] == {}


def test_the_interval_holds_the_median_and_no_negative_life():
    found = interpret(outputs(rul=(-5.0, 2.0, 1.0)), MANIFEST, window())
    assert (found["rul_low"], found["rul"], found["rul_high"]) == (0.0, 2.0, 2.0)


def test_a_type_without_rul_model_says_so():
    manifest = MANIFEST.model_copy(update={"outputs": ["anomaly_score", "ood_score"], "horizon_cycles": None})
    found = interpret(outputs(), manifest, window())
    assert found["rul_state"] is RulState.NOT_MODELLED
    assert found["rul"] is None


def test_an_anomaly_is_above_its_threshold_not_at_it():
    assert not interpret(outputs(anomaly=1.0), MANIFEST, window())["is_anomaly"]
    assert interpret(outputs(anomaly=1.001), MANIFEST, window())["is_anomaly"]


def test_the_window_begins_with_the_tenth_reading_and_keeps_the_newest_thirty():
    buffer = WindowBuffer(PUMP, "coolant_pump", SPEC)
    windows = []
    for cycle in range(40):
        metrics = {tag: float(cycle) for tag in SPEC.tags if not (cycle == 35 and tag == SPEC.tags[0])}
        quality = {SPEC.tags[0]: "timeout"} if cycle == 35 else {}
        windows.append(
            buffer.push(
                Telemetry(timestamp=NOW, **PUMP._asdict(), cycle=cycle, metrics=metrics, quality=quality)
            )
        )
    assert [w is None for w in windows[:10]] == [True] * 9 + [False]
    last = windows[-1]
    assert last.values[:, 1].tolist() == [float(c) for c in range(10, 40)]
    assert np.isnan(last.values[25, 0])  # cycle 35: bad, and no number in its place
    assert np.isnan(last.values[:, 0]).sum() == 1
