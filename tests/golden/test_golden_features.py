"""Recorded readings to features, every group of them: the same bits at the edge and in training."""

import numpy as np
import pandas as pd
import pytest

from control_plane.training.feature_table import generate_features
from control_plane.training.histories import Unit, windows
from edge_agent.window import WindowBuffer
from shared.features import FeatureStream, UnitStream, fit_normalisation, unit_spec, window_features
from tests.support import golden, golden_features

TAGS = tuple(golden.component().tags)


@pytest.mark.parametrize("name", golden_features.specs())
def test_the_edge_gets_the_golden_features(name):
    """Polls through the agent's own buffer, window by window."""
    spec, expected = golden_features.specs()[name], golden_features.expected()[name]
    buffer = WindowBuffer(golden.PUMP, "coolant_pump", spec)
    found = {}
    for reading in golden.readings():
        window = buffer.push(reading)
        if window is not None:
            found[str(window.cycle)] = golden.features_sha256(window_features(window.values, spec))
    assert found == expected


@pytest.mark.parametrize("name", golden_features.specs())
def test_training_gets_the_golden_features(name):
    """A history as a table, every window of it in one batch, and row by row."""
    spec, expected = golden_features.specs()[name], golden_features.expected()[name]
    history = np.full((golden.CYCLES, len(TAGS)), np.nan, np.float32)
    readings = golden.readings()
    history[[reading.cycle for reading in readings]] = golden_features.table(readings, TAGS)
    raw, ends = windows(Unit("golden", history, None, np.ones(golden.CYCLES, bool)), spec)
    batch = dict(zip(map(str, ends), window_features(raw, spec), strict=True))
    assert {cycle: golden.features_sha256(batch[cycle]) for cycle in expected} == expected
    stream = FeatureStream(spec)
    streamed = {str(cycle): golden.features_sha256(stream.push(row)) for cycle, row in enumerate(history)}
    assert {cycle: streamed[cycle] for cycle in expected} == expected


def test_the_table_of_features_has_the_golden_bits_from_both_sides():
    """`generate_features` over the lake's rows; the kernel's stream over the agent's polls."""
    expected = golden_features.expected()["unit"]
    readings = golden.readings()
    rows = [
        {
            **golden.PUMP._asdict(),
            "timestamp": r.timestamp,
            "cycle": r.cycle,
            "true_RUL": 60 - r.cycle,
            **r.metrics,
        }
        for r in readings
    ]
    table = pd.DataFrame(rows).reindex(columns=[*rows[0]])
    found = generate_features(table).drop(columns="true_RUL").to_numpy()
    in_training = {str(r.cycle): golden.features_sha256(row) for r, row in zip(readings, found, strict=True)}
    stream = UnitStream(unit_spec(TAGS))
    values = golden_features.table(readings, TAGS)
    at_the_edge = {
        str(r.cycle): golden.features_sha256(stream.push(row, r.cycle))
        for r, row in zip(readings, values, strict=True)
    }
    assert in_training == at_the_edge == expected


def test_a_normalisation_is_fitted_to_the_golden_numbers():
    rows = golden_features.table(golden.readings(), TAGS)
    fitted = fit_normalisation([rows], TAGS, golden_features.REGIME_TAGS, regimes=2)
    expected = golden_features.specs()["normalised, smoothed"].normalisation
    for name, numbers in fitted.model_dump().items():
        if name == "regime_tags":
            assert numbers == expected.regime_tags
        else:  # numpy adds a fit's rows in the processor's order; what is released is in the spec
            np.testing.assert_allclose(numbers, getattr(expected, name), rtol=1e-5, err_msg=name)
