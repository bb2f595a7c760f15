"""The golden features: what the recorded readings of the pump give under every group, in bits.

`python -m tests.support.golden_features` makes `tests/golden/features/` anew: only after a deliberate change
of the feature code, which then has a new version.
"""

import json

import numpy as np

from shared.features import (
    GROUPS,
    FeatureSpec,
    Normalisation,
    fit_normalisation,
    unit_features,
    unit_spec,
    window_features,
)
from shared.schemas import Telemetry
from tests.support import golden

FOLDER = golden.FOLDER.parent / "features"
REGIME_TAGS = ("shaft_speed",)


def table(readings: list[Telemetry], tags: tuple[str, ...]) -> np.ndarray:
    """`(n, T)` float32, one row a reading, NaN where it has no number."""
    return np.array([[r.metrics.get(tag, np.nan) for tag in tags] for r in readings], np.float32)


def specs() -> dict[str, FeatureSpec]:
    """By name, as committed: fitted numbers and all."""
    found = json.loads((FOLDER / "specs.json").read_text())
    return {name: FeatureSpec.model_validate(spec) for name, spec in found.items()}


def expected() -> dict[str, dict[str, str]]:
    """SHA-256 of the features by name of the spec, then cycle; and of the table of PRD 4.1 under `unit`."""
    return json.loads((FOLDER / "expected.json").read_text())


def _specs(tags: tuple[str, ...], fitted: Normalisation) -> dict[str, FeatureSpec]:
    kind = "coolant_pump"
    return {
        "every group": FeatureSpec(component_type=kind, tags=tags, groups=GROUPS, rolling_cycles=10),
        "normalised, smoothed": FeatureSpec(
            component_type=kind, tags=tags, normalisation=fitted, smoothing=0.2, groups=GROUPS, steps=5
        ),
    }


def _write(name: str, content: object) -> None:
    (FOLDER / name).write_text(json.dumps(content, indent=1) + "\n")


def _record() -> None:
    tags = tuple(golden.component().tags)
    readings = golden.readings()
    rows = table(readings, tags)
    chosen = _specs(tags, fit_normalisation([rows], tags, REGIME_TAGS, regimes=2))
    _write("specs.json", {name: spec.model_dump(mode="json") for name, spec in chosen.items()})
    windows = list(golden.windows_at_the_edge(golden.release()[0]))
    found = {
        name: {str(w.cycle): golden.features_sha256(window_features(w.values, spec)) for w in windows}
        for name, spec in chosen.items()
    }
    cycles = np.array([r.cycle for r in readings])
    unit = unit_features(rows, np.zeros(len(rows), int), cycles, np.zeros(len(rows), bool), unit_spec(tags))
    digests = {str(c): golden.features_sha256(row) for c, row in zip(cycles, unit, strict=True)}
    _write("expected.json", found | {"unit": digests})


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    _record()
