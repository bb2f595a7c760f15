"""The network against a line and against trees, on units of a simulated fleet that none of them has seen.

Units are split by fault type, so that each of the three parts has sound and struck ones: `train`, `calibrate`
(early stopping, thresholds, conformal margins) and `judge`. All methods get the same parts; the line learns
its indicator from the sound ones, since health falls in no line through a fault.

What is judged: of a sound unit every call, of a struck one those from the fault's first cycle on, since the
life before it ended another way. Lives are judged in sight of failure, truth at most the horizon: beyond it a
model only says "beyond". Shares are over calls; horizons, delays and leads are medians over units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from control_plane.training.baselines import GradientBoosting, LinearDegradation
from control_plane.training.conformal import calibrate
from control_plane.training.fit import Fitted, TrainingConfig, fit
from control_plane.training.histories import Unit, windows
from control_plane.training.prognostics import (
    alerts,
    alpha_lambda,
    cone_share,
    cumulative_relative_accuracy,
    detection_delay,
    false_alarms,
    late_call_rate,
    per_month,
    phm_score,
    picp,
    pinaw,
    prognostic_horizon,
    worst_bin,
)
from shared.errors import ConfigError
from shared.features import FeatureSpec, window_features
from shared.reactor_config import Tag

SOUND = "none"  # the fault of a unit without one
PARTS = (0.4, 0.2, 0.4)  # of the units of each fault type: train, calibrate, judge
UNITS_MIN = 3  # of each fault type: one a part
LABELS = ("performance", "true_RUL", "fault")
NORMAL_PERFORMANCE_MIN = 0.5  # wear down to here is the life an operator calls normal

ALPHA = 0.2  # half-width of the cone, of the true RUL (Saxena et al. 2008)
LAMBDA = 0.5  # half-way from the first judged call to failure
HORIZON_TOLERANCE = 0.05  # of the unit's life: the bounds of the prognostic horizon (Saxena et al. 2010)
LATE_MARGIN_CYCLES = 10.0  # later than that is late: an alarm at RUL 10 would come when it has failed
BINS = 5  # of the predicted RUL, for the worst coverage
BIN_CALLS_MIN = 50  # fewer say nothing of a coverage of 0.9

ON_DELAY, OFF_DELAY = 2, 5  # scores before an alert is raised and cleared, as at the edge
ALARM_QUANTILE = 0.999  # of the baselines' scores over normal calls: the network's own false-alarm budget
DETECTED_WITHIN_CYCLES = 96  # a day: what is raised later may tell wear, not the fault
DAYS_PER_MONTH = 30
RUL_WARNING_CYCLES = 25.0  # as `thresholds.rul_warning` of reactor_config.yaml
EARLY_FACTOR = 2.0  # a warning at more than twice its limit is a false alarm

Floats = NDArray[np.float32]
Marks = NDArray[np.bool_]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A unit, its one fault, and `struck` `(n,)`: the cycles at which the fault is in effect."""

    unit: Unit
    fault: str
    struck: Marks


class Parts(NamedTuple):
    """Disjoint units: what a method learns from, sets its thresholds on, and is judged on."""

    train: list[Subject]
    calibrate: list[Subject]
    judge: list[Subject]


class Method(Protocol):
    """Anything that calls windows: raw `(N, W, T)` -> RUL `(N, 3)` in cycles, and a score `(N,)`."""

    @property
    def spec(self) -> FeatureSpec:
        """Which tags, and how many cycles a window has."""

    def predict(self, raw: Floats) -> Floats:
        """Low, median and high."""

    def score(self, raw: Floats) -> Floats:
        """Higher is stranger."""


@dataclass(frozen=True)
class Calls:
    """What a method said of a unit, one a cycle: `rows`, `truth` capped, `predicted` `(N, 3)`, `alarming`."""

    subject: Subject
    rows: NDArray[np.intp]
    truth: Floats
    predicted: Floats
    alarming: Marks
    horizon: float

    @property
    def first(self) -> int:
        """The first call that is judged."""
        struck = self.subject.struck[self.rows]
        return int(np.argmax(struck)) if struck.any() else 0

    @property
    def in_sight(self) -> Marks:
        """Which calls are judged on the remaining life."""
        seen = self.truth < self.horizon
        seen[: self.first] = False
        return seen


class Row(NamedTuple):
    """One line of the table. Lengths in cycles, shares 0 to 1, rates per simulated month."""

    component_type: str
    fault: str
    method: str
    units: int
    rmse: float
    cone: float
    at_half: float
    accuracy: float
    horizon: float
    late: float
    score: float
    coverage: float
    width: float
    worst_coverage: float
    lead: float
    early_per_month: float
    detected: float
    delay: float
    false_per_month: float


class Network:
    """The release's own graph, before export."""

    def __init__(self, fitted: Fitted, spec: FeatureSpec) -> None:
        self.spec = spec
        self._fitted = fitted

    def predict(self, raw: Floats) -> Floats:
        """The graph's `rul`."""
        return self._outputs(raw)[0]

    def score(self, raw: Floats) -> Floats:
        """The graph's `anomaly_score`."""
        return self._outputs(raw)[1]

    def _outputs(self, raw: Floats) -> list[Floats]:
        with torch.no_grad():
            found = self._fitted.graph(torch.from_numpy(window_features(raw, self.spec)))
        return [output.numpy() for output in found]


def load_subjects(path: Path, tags: dict[str, Tag]) -> list[Subject]:
    """The units of a table of `edge-agent simulate`, with their faults.

    ConfigError for a table without labels, a unit with several faults, and too few units of a fault type.
    """
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    missing = [name for name in (*tags, "run", "cycle", *LABELS) if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise ConfigError(
            str(path), [f"column {name!r} is missing; the file has {found}" for name in missing]
        )
    subjects = [_subject(path, str(run), part, list(tags)) for run, part in table.groupby("run", sort=True)]
    for fault in sorted({subject.fault for subject in subjects}):
        count = sum(subject.fault == fault for subject in subjects)
        if count < UNITS_MIN:
            raise ConfigError(str(path), [f"has {count} units of fault {fault!r}; at least {UNITS_MIN}"])
    return subjects


def _subject(path: Path, name: str, part: pd.DataFrame, tags: list[str]) -> Subject:
    part = part.sort_values("cycle")
    struck = part["fault"].notna().to_numpy(bool)
    found = sorted(part["fault"].dropna().unique())
    if len(found) > 1 or any("+" in fault for fault in found):
        raise ConfigError(str(path), [f"run {name} has faults {', '.join(found)}; at most one a unit"])
    normal = (part["performance"] >= NORMAL_PERFORMANCE_MIN).to_numpy(bool) & ~struck
    rul = part["true_RUL"].to_numpy(np.float32)
    unit = Unit(name, part[tags].to_numpy(np.float32), rul, normal)
    return Subject(unit, found[0] if found else SOUND, struck)


def split(subjects: Sequence[Subject], seed: int) -> Parts:
    """Whole units into `PARTS`, at least one of each fault type in each part."""
    parts = Parts([], [], [])
    for fault in sorted({subject.fault for subject in subjects}):
        same = [subject for subject in subjects if subject.fault == fault]
        order = np.random.default_rng([seed, len(same)]).permutation(len(same))
        judged = max(1, round(PARTS[2] * len(same)))
        calibrated = max(1, round(PARTS[1] * len(same)))
        cuts = np.split(order, [judged, judged + calibrated])
        for part, chosen in zip((parts.judge, parts.calibrate, parts.train), cuts, strict=True):
            part.extend(same[i] for i in chosen)
    return parts


def pooled(
    component_type: str, tags: tuple[str, ...], config: TrainingConfig, window_cycles: int, pool_cycles: int
) -> tuple[FeatureSpec, TrainingConfig]:
    """Features and settings of a network that sees means over `pool_cycles` as its steps; 1: every row.

    A slope shows over a long window only; means keep it few steps long and take the noise out.
    """
    spec = FeatureSpec(component_type=component_type, tags=tags, window_cycles=window_cycles)
    if pool_cycles == 1:
        return spec, config
    means = spec.model_copy(update={"groups": ("value", "present", "mean"), "rolling_cycles": pool_cycles})
    seen = replace(config, row_stride=pool_cycles, network_groups=("present", "mean"))
    return FeatureSpec.model_validate(means.model_dump()), seen


def hold_trial(
    component_type: str,
    subjects: Sequence[Subject],
    spec: FeatureSpec,
    config: TrainingConfig,
    cycle_minutes: float,
    say: Say,
) -> tuple[list[Row], dict[str, list[Calls]]]:
    """Fit every method and judge it: the table's rows, and the calls of the judged units by method."""
    parts = split(subjects, config.seed)
    sizes = ", ".join(f"{name} {len(part)}" for name, part in parts._asdict().items())
    say(f"{component_type}: {len(subjects)} units ({sizes})")
    month = DAYS_PER_MONTH * 24 * 60 / cycle_minutes
    calls = {
        name: _called(method, threshold, parts, config)
        for name, (method, threshold) in _fit(component_type, parts, spec, config, say).items()
    }
    faults = ["all", *sorted({subject.fault for subject in parts.judge})]
    rows = [
        judge(component_type, fault, name, [c for c in found if fault in ("all", c.subject.fault)], month)
        for fault in faults
        for name, found in calls.items()
    ]
    return rows, calls


def _fit(
    component_type: str, parts: Parts, spec: FeatureSpec, config: TrainingConfig, say: Say
) -> dict[str, tuple[Method, float]]:
    """Each method and the threshold of its score."""
    train, calibrate = ([subject.unit for subject in part] for part in (parts.train, parts.calibrate))
    fitted = fit(train, calibrate, spec, config, say)
    sound = [subject.unit for subject in parts.train if subject.fault == SOUND]
    line = LinearDegradation(spec.tags, component_type, config.horizon_cycles).fit(sound, config.stride)
    trees = GradientBoosting(spec, config.horizon_cycles, config.coverage, config.seed)
    baselines: dict[str, Method] = {"linear": line, "boosting": trees.fit(train, config.stride)}
    found: dict[str, tuple[Method, float]] = {"network": (Network(fitted, spec), fitted.anomaly_threshold)}
    return found | {name: (method, _threshold(method, calibrate)) for name, method in baselines.items()}


def _threshold(method: Method, units: Sequence[Unit]) -> float:
    scores = [method.score(raw)[unit.normal[ends]] for unit, (raw, ends) in _windows(method, units)]
    return float(np.quantile(np.concatenate(scores), ALARM_QUANTILE))


def _windows(method: Method, units: Sequence[Unit]) -> "list[tuple[Unit, tuple[Floats, NDArray[np.intp]]]]":
    return [(unit, windows(unit, method.spec)) for unit in units]


def _called(method: Method, threshold: float, parts: Parts, config: TrainingConfig) -> list[Calls]:
    """The judged units' calls, with the margins that cover the calibration units."""
    horizon = config.horizon_cycles
    known = [_call(method, threshold, subject, horizon) for subject in parts.calibrate]
    calibration = calibrate(
        np.concatenate([c.predicted for c in known]),
        np.concatenate([c.truth for c in known]),
        np.repeat(np.arange(len(known)), [len(c.truth) for c in known]),
        horizon,
        config.coverage,
    )
    found = [_call(method, threshold, subject, horizon) for subject in parts.judge]
    return [replace(c, predicted=np.stack(calibration.widen(*c.predicted.T), axis=-1)) for c in found]


def _call(method: Method, threshold: float, subject: Subject, horizon: float) -> Calls:
    raw, rows = windows(subject.unit, method.spec)
    if subject.unit.rul is None:
        raise ValueError(f"unit {subject.unit.name} has no true_RUL to be judged by")
    truth = np.minimum(subject.unit.rul[rows], np.float32(horizon))
    return Calls(subject, rows, truth, method.predict(raw), method.score(raw) > threshold, horizon)


def judge(component_type: str, fault: str, method: str, calls: Sequence[Calls], month: float) -> Row:
    """One line of the table; `month` is how many cycles one has."""
    predicted = np.concatenate([c.predicted[c.in_sight] for c in calls])
    truth = np.concatenate([c.truth[c.in_sight] for c in calls])
    median, horizon = predicted[:, 1], calls[0].horizon
    units = [(c, c.predicted[c.in_sight, 1], c.truth[c.in_sight]) for c in calls if c.in_sight.any()]
    return Row(
        component_type,
        fault,
        method,
        len(calls),
        rmse=float(np.sqrt(np.mean((median - truth) ** 2))) if len(truth) else float("nan"),
        cone=cone_share(median, truth, ALPHA),
        at_half=_mean([alpha_lambda(m, t, ALPHA, LAMBDA) for _, m, t in units]),
        accuracy=cumulative_relative_accuracy(median, truth),
        horizon=_median([prognostic_horizon(m, t, HORIZON_TOLERANCE * _life(c)) for c, m, t in units]),
        late=late_call_rate(median, truth, LATE_MARGIN_CYCLES),
        score=phm_score(median, truth) / len(truth) if len(truth) else float("nan"),
        coverage=picp(predicted, truth),
        width=pinaw(predicted, truth, horizon),
        worst_coverage=worst_bin(predicted, truth, horizon, BINS, BIN_CALLS_MIN),
        **_warnings(calls, month),
        **_detection(calls, month),
    )


def _warnings(calls: Sequence[Calls], month: float) -> dict[str, float]:
    """The true RUL when the RUL warning was raised, and how often it was raised far too early."""
    leads, early = [], 0
    for c in calls:
        raised = alerts(c.predicted[:, 1] <= RUL_WARNING_CYCLES, ON_DELAY, OFF_DELAY)
        too_early = c.truth > EARLY_FACTOR * RUL_WARNING_CYCLES
        early += false_alarms(raised, too_early)
        useful = [float(c.truth[at]) for at in raised if at >= c.first and not too_early[at]]
        if c.truth[-1] == 0:
            leads.append(useful[0] if useful else 0.0)
    alive = sum(int((c.truth > EARLY_FACTOR * RUL_WARNING_CYCLES).sum()) for c in calls)
    return {"lead": _median(leads), "early_per_month": per_month(early, alive, month)}


def _detection(calls: Sequence[Calls], month: float) -> dict[str, float]:
    """How soon after a fault an anomaly alert is raised, and how often without one."""
    delays, false, sound = [], 0, 0
    for c in calls:
        raised = alerts(c.alarming, ON_DELAY, OFF_DELAY)
        normal = c.subject.unit.normal[c.rows]
        false, sound = false + false_alarms(raised, normal), sound + int(normal.sum())
        if c.subject.fault != SOUND:
            delays.append(delay_of(c))
    return {
        "detected": _mean([float(np.isfinite(delay)) for delay in delays]),
        "delay": _median(delays),
        "false_per_month": per_month(false, sound, month),
    }


def delay_of(calls: Calls) -> float:
    """Cycles from a struck unit's fault to the first anomaly alert; infinite when not within a day."""
    raised = alerts(calls.alarming, ON_DELAY, OFF_DELAY)
    delay = detection_delay(raised, calls.rows, float(np.argmax(calls.subject.struck)))
    return delay if delay < DETECTED_WITHIN_CYCLES else float("inf")


def _life(calls: Calls) -> float:
    """Cycles from the unit's first to its failure, as its last truth tells."""
    return float(calls.rows[-1] + calls.truth[-1] + 1)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _median(values: Sequence[float]) -> float:
    known = sorted(value for value in values if not np.isnan(value))
    return float(known[len(known) // 2]) if known else float("nan")
