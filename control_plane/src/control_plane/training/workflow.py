"""One training, from a table to a release folder; reads top to bottom (PRD 4.3)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from control_plane.training.dataset import delta_version
from control_plane.training.evaluate import judge, plot
from control_plane.training.export import golden_windows, output_names, to_onnx, to_torchscript
from control_plane.training.fit import Fitted, TrainingConfig, fit
from control_plane.training.histories import NO_TAGS, Unit, data_version, hold_out, load_units
from control_plane.training.trust import tag_references
from shared.features import WINDOW_CYCLES, FeatureSpec
from shared.reactor_config import Tag
from shared.schemas import Manifest, utc_now

GOLDEN_TOLERANCE = 1e-2  # cycles and standard deviations: other processors may round otherwise
OLDEST_AGENT = "0.1.0"


class Trained(NamedTuple):
    """A model before it has a version: its bytes, its manifest as version 1, and what to log.

    `data_version` is the Delta version of a built data set, None for a plain file.
    """

    model: bytes
    torchscript: bytes
    manifest: Manifest
    fitted: Fitted
    parameters: dict[str, str | int | float]
    data_version: int | None


def train(
    component_type: str,
    tags: dict[str, Tag],
    data: Path,
    config: TrainingConfig,
    rows_per_file: int | None,
    picture: Path,
    say: Callable[[str], None],
    window_cycles: int = WINDOW_CYCLES,
    operating: Mapping[str, float] = NO_TAGS,
) -> Trained:
    """Load, split by unit, fit, export, judge on units never seen, draw."""
    units = load_units(data, tags, rows_per_file, component_type, operating)
    say(f"{component_type}: {len(units)} units, {sum(len(u.values) for u in units)} cycles")
    spec = FeatureSpec(component_type=component_type, tags=tuple(tags), window_cycles=window_cycles)
    kept, calibration, judged = split(units, config)
    fitted = fit(kept, calibration, spec, config, say)
    say("exporting to ONNX")
    model = to_onnx(fitted, spec, judged)
    names = output_names(fitted)
    metrics = judge(model, judged, spec, names, fitted, config.horizon_cycles)
    plot(picture, fitted, model, judged, spec, names, config)
    say("on held-out units: " + ", ".join(f"{name} {value:.3g}" for name, value in metrics.items()))
    manifest = Manifest(
        name=component_type,
        version=1,
        component_type=component_type,
        sha256=hashlib.sha256(model).hexdigest(),
        feature_spec=spec,
        feature_spec_hash=spec.hash(),
        outputs=names,
        horizon_cycles=config.horizon_cycles if fitted.graph.rul is not None else None,
        anomaly_threshold=fitted.anomaly_threshold,
        ood_threshold=fitted.ood_threshold,
        training_data_version=data_version(data),
        metrics=metrics,
        calibration=fitted.calibration,
        references=tag_references(kept, spec, tags),
        operating=dict(operating),
        golden=golden_windows(model, judged, spec, names),
        golden_tolerance=GOLDEN_TOLERANCE,
        oldest_agent_version=OLDEST_AGENT,
        created=utc_now(),
    )
    parameters = asdict(config) | {"component_type": component_type, "sequence_length": window_cycles}
    script = to_torchscript(fitted, spec, judged)
    return Trained(model, script, manifest, fitted, parameters, delta_version(data))


def split(units: list[Unit], config: TrainingConfig) -> tuple[list[Unit], list[Unit], list[Unit]]:
    """`(train, calibrate, judge)`, disjoint; fewer than four units serve for all three, which metrics say."""
    if len(units) < 4:
        return units, units, units
    kept, held = hold_out(units, config.held_out, config.seed)
    judged, calibration = hold_out(held, 0.5, config.seed + 1)
    return kept, calibration, judged
