"""Models side by side: their metrics, and the settings in which they differ. Pure, but for the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from control_plane.training.pictures import DOTS_PER_INCH, pyplot

PANELS = ("rmse_cycles", "mae_cycles", "r2", "coverage", "mean_width_cycles", "false_alarm_rate", "ood_rate")
DATA_KEYS = ("dataset_sha256", "dataset_version", "sha256")  # differ without being settings
FIRST_METRICS = {name: place for place, name in enumerate(PANELS)}


class Compared(NamedTuple):
    """One model: where it is, what it was trained with, and how it did."""

    uri: str
    model: str
    aliases: tuple[str, ...]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


def metric_names(models: Sequence[Compared]) -> list[str]:
    """Every metric that any has, those of PANELS first."""
    every = {name for model in models for name in model.metrics}
    return sorted(every, key=lambda name: (FIRST_METRICS.get(name, len(PANELS)), name))


def differing(models: Sequence[Compared]) -> list[str]:
    """The settings that are not the same in all of them."""
    every = sorted({name for model in models for name in model.parameters})
    return [
        name
        for name in every
        if name not in DATA_KEYS and len({model.parameters.get(name) for model in models}) > 1
    ]


def same_data(models: Sequence[Compared]) -> bool:
    """Whether all were trained, and so measured, on the same data."""
    return len({model.parameters.get("dataset_sha256") for model in models}) <= 1


def as_rows(models: Sequence[Compared]) -> list[dict[str, Any]]:
    """For a script: each model with its metrics and the settings that differ."""
    settings = differing(models)
    return [
        {
            "uri": model.uri,
            "model": model.model,
            "aliases": list(model.aliases),
            "metrics": dict(model.metrics),
            "settings": {name: model.parameters.get(name) for name in settings},
        }
        for model in models
    ]


def draw(models: Sequence[Compared], path: Path) -> None:
    """A panel for each of PANELS that any of them has, a bar for each model."""
    plt = pyplot()
    names = [name for name in PANELS if any(name in model.metrics for model in models)]
    width, height = 3 * max(1, len(names)), 0.4 * len(models) + 1.5
    figure, axes = plt.subplots(1, max(1, len(names)), figsize=(width, height), sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        have = [model for model in models if name in model.metrics]
        axis.barh([model.uri for model in have], [model.metrics[name] for model in have])
        axis.set(title=name)
    axes.flat[0].invert_yaxis()
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    plt.close(figure)
