"""What a card says in words: the meaning of a metric, what a model is for, and where it ends. Pure."""

from collections.abc import Mapping

from control_plane.api.model_card_models import Metric
from shared.schemas import Manifest

_MEANINGS = {
    "mae_cycles": "mean error of the RUL, in cycles, truths capped at the horizon",
    "rmse_cycles": "root of the mean squared error of the RUL, in cycles: large errors weigh more",
    "mae_uncapped_cycles": "mean error of the RUL, in cycles, against truths beyond the horizon too",
    "rmse_uncapped_cycles": "the same as a root of the mean square",
    "r2": "share of the RUL's variance that the model explains; 1 is all",
    "coverage": "share of true RULs inside the interval",
    "mean_width_cycles": "mean width of the interval, in cycles: at the same coverage, narrower is better",
    "false_alarm_rate": "share of normal cycles above the anomaly threshold",
    "ood_rate": "share of cycles that look unlike the training data",
    "held_out_units": "units that it was judged on; of fewer than four in all it was trained on the same",
    "units": "units that it was judged on",
    "cycles": "cycles that it was judged on",
    "importance_incompleteness": "share of the RUL that the importances leave unexplained",
}


def metric(name: str, value: float) -> Metric:
    """A metric with its meaning; none where it is not one of ours."""
    return Metric(name=name, value=value, meaning=_MEANINGS.get(name, ""))


def metrics(found: Mapping[str, float]) -> list[Metric]:
    """All of them, in the order in which they were given."""
    return [metric(name, value) for name, value in found.items()]


def intended_use(manifest: Manifest) -> list[str]:
    """What the release is made for, from what it says of itself."""
    kind, window = manifest.component_type.replace("_", " "), manifest.feature_spec.window_cycles
    told = "its remaining useful life in cycles and " if "rul" in manifest.outputs else ""
    return [
        f"Scores one {kind} from its last {window} cycles: says {told}how far it is from normal operation.",
        "Advice to reliability engineers who plan maintenance. It is no safety function: it neither trips "
        "nor controls anything, and takes the place of no inspection.",
    ]


def limits(manifest: Manifest) -> list[str]:
    """Where its answers end."""
    found = [
        f"Only for {manifest.component_type.replace('_', ' ')}s with exactly these tags in these units.",
        f"Input further than {manifest.ood_threshold:g} from the training data: the RUL is withheld.",
        "Trained on the data of the version named here; how well it does elsewhere is not known from it.",
    ]
    if manifest.horizon_cycles is not None:
        found.insert(
            1, f"Tells RULs apart up to {manifest.horizon_cycles:g} cycles; beyond that it gives no number."
        )
    else:
        found.insert(1, "Has no RUL model: it only says how unlike normal the component is.")
    if manifest.calibration is None:
        found.append("Its interval comes without a calibration of its own.")
    if not manifest.references:
        found.append("Does not say which tags a number hangs on, and does not notice a stuck sensor.")
    if not manifest.metrics:
        found.append("Came without metrics: nothing is known of how well it does.")
    return found
