"""Which tags move a RUL, by integrated gradients (Sundararajan, Taly and Yan 2017; captum).

The edge asks the same question of each prediction in a cheaper form (`shared.contributions`), against the
same normal window. Here the answer is complete: a window's effects sum to what its RUL differs from the
normal window's. Gradients need torch, so the TorchScript form of a release is asked, after it has given the
same numbers as the released bytes.
"""

import io
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray

from control_plane.training.export import PARITY_MAX, parity
from control_plane.training.histories import Unit, windows
from control_plane.training.onnx_outputs import run_onnx
from shared.errors import Untrusted
from shared.features import FeatureSpec, window_features
from shared.normal import normal_window
from shared.schemas import Manifest

WINDOWS_MAX = 400  # of all units together: a mean effect to some per cent, in seconds
STEPS = 64  # gradients from the normal window to the one that was read
BATCH = 2_048  # windows a pass: bounds the memory of their gradients

Floats = NDArray[np.float32]


class Effects(NamedTuple):
    """By window and tag in cycles `(N, T)`; by how much a window's do not sum, at worst, in horizons."""

    cycles: Floats
    incompleteness: float


class Importance(NamedTuple):
    """By tag, most first: mean size of its effect in cycles, each unit of the same weight."""

    cycles: dict[str, float]
    incompleteness: float


def effects(script: bytes, manifest: Manifest, values: Floats) -> Effects:
    """What each tag does to the median RUL of raw windows `(N, W, T)`, below 0 where it shortens it.

    The release has references and a RUL.
    """
    spec = manifest.feature_spec
    normal = np.stack([normal_window(each, manifest) for each in values])
    read, usual = (torch.from_numpy(window_features(each, spec)) for each in (values, normal))
    graph = _loaded(script)
    gradients = IntegratedGradients(lambda features: graph(features)[0][:, 1])
    found, gap = gradients.attribute(
        read, usual, n_steps=STEPS, internal_batch_size=BATCH, return_convergence_delta=True
    )
    by_column = found.sum(dim=1).numpy()
    by_tag = np.stack(
        [by_column[:, _columns(spec, tag)].sum(axis=1) for tag in range(len(spec.tags))], axis=1
    )
    return Effects(by_tag, float(gap.abs().max()) / (manifest.horizon_cycles or 1.0))


def importance(script: bytes, model: bytes, manifest: Manifest, units: Sequence[Unit]) -> Importance:
    """The mean effect of each tag over windows of `units`, spread evenly over their lives.

    Untrusted when the TorchScript form does not answer as the released bytes do.
    """
    spec = manifest.feature_spec
    stride = max(1, sum(len(unit.values) for unit in units) // WINDOWS_MAX)
    parts = [windows(unit, spec, stride)[0] for unit in units]
    raw = np.concatenate(parts)
    _check_same(script, model, manifest, raw)
    found = effects(script, manifest, raw)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    by_unit = [np.abs(each).mean(axis=0) for each in np.split(found.cycles, ends)]
    mean = dict(zip(spec.tags, np.mean(by_unit, axis=0).tolist(), strict=True))
    return Importance(dict(sorted(mean.items(), key=lambda item: -item[1])), found.incompleteness)


def _columns(spec: FeatureSpec, tag: int) -> list[int]:
    """Numbers of a tag's features: in each group, tags stand in order; `cycles` is of none."""
    found, at = [], 0
    for group in spec.groups:
        if group == "cycles":
            at += 1
            continue
        found.append(at + tag)
        at += len(spec.tags)
    return found


def _check_same(script: bytes, model: bytes, manifest: Manifest, raw: Floats) -> None:
    features = window_features(raw, manifest.feature_spec)
    with torch.no_grad():
        found = [value.numpy() for value in _loaded(script)(torch.from_numpy(features))]
    released = run_onnx(model, features, manifest.outputs)
    worst = max(parity(released, found, manifest.horizon_cycles or 1.0).values())
    if not worst <= PARITY_MAX:
        raise Untrusted(
            "TorchScript",
            f"{manifest.folder}: model.pt is off from model.onnx by {worst:.2g}; allowed {PARITY_MAX:g}",
        )


def _loaded(script: bytes) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have its own formats used
        graph: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(script)).eval()
    return graph
