"""Recorded readings to features to scores to what is said: one file, held against from edge and training."""

import io
from functools import cache

import numpy as np
import pytest
import torch

from control_plane.training.evaluate import widened
from control_plane.training.export import PARITY_MAX, parity
from control_plane.training.histories import Unit, windows
from edge_agent.scoring import Scorer
from shared.features import window_features
from shared.onnx_model import OnnxModel
from shared.schemas import RulState
from tests.support import golden

TORCH = pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")  # C++ reads this form


def same(found: dict, expected: dict, tolerance: float) -> None:
    """Outputs agree within what the release allows between machines."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)


@cache
def in_training() -> tuple[np.ndarray, list[int]]:
    """Raw windows of the history as a table, missed cycles as empty rows, and the cycle each ends at."""
    spec = golden.release()[0].feature_spec
    table = np.full((golden.CYCLES, len(spec.tags)), np.nan, np.float32)
    for reading in golden.readings():
        table[reading.cycle] = [reading.metrics.get(tag, np.nan) for tag in spec.tags]
    raw, ends = windows(Unit("golden", table, None, np.ones(golden.CYCLES, bool)), spec)
    polled = [row for row, cycle in enumerate(ends) if int(cycle) in golden.expected()]
    return raw[polled], ends[polled].tolist()


def by_torch(raw: np.ndarray) -> dict[str, np.ndarray]:
    """The network's own answers for raw windows."""
    manifest, _ = golden.release()
    graph = torch.jit.load(io.BytesIO(golden.torchscript()))
    with torch.no_grad():
        found = graph(torch.from_numpy(window_features(raw, manifest.feature_spec)))
    return dict(zip(manifest.outputs, (value.numpy() for value in found), strict=True))


def test_the_edge_gets_the_golden_features_scores_and_reasons():
    """Polls through the agent's window and scorer: bits, numbers, calibrated interval, three tags."""
    manifest, model = golden.release()
    scorer, expected = Scorer.load(manifest, model), golden.expected()
    seen = {}
    for window in golden.windows_at_the_edge(manifest):
        wanted = expected[window.cycle]
        features = window_features(window.values, manifest.feature_spec)
        assert golden.features_sha256(features) == wanted["features_sha256"], window.cycle
        record = scorer.score(window).model_dump(mode="json")
        same(record["raw"], wanted["raw"], manifest.golden_tolerance)
        assert record["contributions"] == [
            each | {"effect": pytest.approx(each["effect"], abs=2 * manifest.golden_tolerance)}
            for each in wanted["contributions"]
        ]
        for name in set(golden.SAID) - {"contributions"}:
            assert record[name] == pytest.approx(wanted[name], abs=manifest.golden_tolerance), name
        seen[window.cycle] = True
    assert seen.keys() == expected.keys()
    assert len(seen) == golden.CYCLES - len(golden.MISSED) - 9  # from the tenth reading on


def test_the_golden_file_shows_what_a_release_may_say():
    """It would prove little of intervals and reasons without a calibration, references and numbers."""
    manifest, _ = golden.release()
    assert manifest.calibration is not None
    assert set(manifest.references) == set(manifest.feature_spec.tags)
    rows = golden.expected().values()
    assert {row["rul_state"] for row in rows} == {RulState.OK}
    assert {len(row["contributions"]) for row in rows} == {3}
    margin = manifest.calibration.bins[0].margin_cycles
    assert any(row["rul_high"] == pytest.approx(row["raw"]["rul"][2] + margin) for row in rows)


@TORCH
def test_training_gets_the_same_features_scores_and_intervals():
    """The history as a table, every window in one batch, through torch and the calibration of training."""
    manifest, _ = golden.release()
    raw, cycles = in_training()
    features, outputs = window_features(raw, manifest.feature_spec), by_torch(raw)
    intervals = widened(outputs["rul"], manifest.calibration)
    for row, cycle in enumerate(cycles):
        wanted = golden.expected()[cycle]
        assert golden.features_sha256(features[row]) == wanted["features_sha256"], cycle
        found = {name: np.ravel(values[row]).tolist() for name, values in outputs.items()}
        same(found, wanted["raw"], manifest.golden_tolerance)
        interval = [wanted[name] for name in ("rul_low", "rul", "rul_high")]
        np.testing.assert_allclose(intervals[row], interval, rtol=0, atol=manifest.golden_tolerance)
    assert cycles == list(golden.expected())


@TORCH
def test_torch_and_the_edges_runtime_differ_by_less_than_one_in_a_hundred_thousand():
    """What is shipped is what was trained: RUL in horizons, scores relative above one."""
    manifest, model = golden.release()
    raw, _ = in_training()
    expected = by_torch(raw)
    found = OnnxModel(manifest, model).run(raw)
    differences = parity(found, [expected[name] for name in found], manifest.horizon_cycles)
    assert max(differences.values()) <= PARITY_MAX


@TORCH
def test_training_finds_the_golden_reasons_with_the_network_itself():
    """By the definition, for each tag: what putting it to normal changes, and what it changes alone."""
    manifest, _ = golden.release()
    tags = manifest.feature_spec.tags
    usual = np.array([manifest.references[tag].normal[0] for tag in tags], np.float32)
    for values, cycle in zip(*in_training(), strict=True):
        normal = np.where(np.isfinite(values), usual, np.float32(np.nan))
        columns = np.eye(len(tags), dtype=bool)[:, np.newaxis, :]
        asked = [np.where(columns, normal, values), np.where(columns, values, normal), [values], [normal]]
        rul = by_torch(np.concatenate(asked))["rul"][:, 1].astype(np.float64)
        without, alone = rul[: len(tags)], rul[len(tags) : -2]
        effect = (rul[-2] - without + alone - rul[-1]) / 2
        for each in golden.expected()[cycle]["contributions"]:
            at = tags.index(each["tag"])
            assert effect[at] == pytest.approx(each["effect"], abs=2 * manifest.golden_tolerance)
            rows = np.flatnonzero(np.isfinite(values[:, at]))
            assert each["value"] == float(values[rows[-1], at])
            assert each["normal"] == pytest.approx(float(usual[at]))
            assert each["unit"] == golden.component().tags[each["tag"]].unit
        least = min(abs(each["effect"]) for each in golden.expected()[cycle]["contributions"])
        assert np.sum(np.abs(effect) > least + 2 * manifest.golden_tolerance) <= 2
