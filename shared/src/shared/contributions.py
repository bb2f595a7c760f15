"""Which tags a number hangs on, by asking the same graph again about windows that differ in one tag.

A tag's effect is what it changes, averaged between two questions: the window as it is with that tag put
back to normal, and the normal window with that tag as it is (the last and the first term of Shapley's value,
so that tags which say the same share what they say). On the RUL it is in cycles. On the anomaly score it is
a share of the squared score: for a Mahalanobis distance, whose square is quadratic, the average is exactly
Shapley's value and integrated gradients', and the shares sum to the whole less the normal window's part.

Cost: `2 T + 2` windows, of at most `TAGS_MAX` tags, once for a prediction that matters.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import Rejected
from shared.interpret import Fields
from shared.normal import normal_window
from shared.operation import rows_in_operation
from shared.schemas import Contribution, Manifest, RulState
from shared.schemas.prediction import CONTRIBUTIONS_MAX

TAGS_MAX = 32  # asked about, those farthest from normal first: bounds a component with thousands of tags
EXPLAINED_MAX = 8  # of a batch: bounds what a poll costs when a whole plant is unwell
EFFECT_MIN = {"rul": 0.5, "anomaly": 0.02}  # cycles, share: what is less explains nothing

Subject = Literal["rul", "anomaly"]

Floats = NDArray[np.float32]


class Runs(Protocol):
    """The model's part in this."""

    manifest: Manifest

    def run(self, values: Floats) -> dict[str, Floats]: ...


def explained(model: Runs, values: Floats, answers: Sequence[Fields | Rejected]) -> list[Fields | Rejected]:
    """Answers for raw windows `(N, W, T)`, with contributions where they matter most.

    That is where the RUL is a number or the score abnormal: at most `EXPLAINED_MAX` of a batch, the
    shortest RUL first, then the most abnormal.
    """
    found = list(answers)
    urgent = sorted(each for number, answer in enumerate(answers) for each in _urgency(number, answer))
    for _, _, number, answer in urgent[:EXPLAINED_MAX]:
        of: Subject = "rul" if answer["rul_state"] is RulState.OK else "anomaly"
        with suppress(Rejected):  # a number without reasons is better than none
            found[number] = answer | {"contributions": contributions(model, values[number], of)}
    return found


def _urgency(number: int, answer: Fields | Rejected) -> Iterator[tuple[bool, float, int, Fields]]:
    """How an answer that is worth explaining sorts; nothing for one that is not."""
    if isinstance(answer, Rejected):
        return
    if answer["rul_state"] is RulState.OK:
        yield False, answer["rul"], number, answer
    elif answer["is_anomaly"]:
        yield True, -answer["anomaly_score"], number, answer


def contributions(model: Runs, values: Floats, of: Subject) -> list[Contribution]:
    """The tags that contribute most to the number for one raw window `(W, T)`, greatest first.

    Empty where the release has no references, or the graph does not bear the question.
    """
    if not model.manifest.references or not np.isfinite(values).any():
        return []
    values = rows_in_operation(values, model.manifest.operating, model.manifest.feature_spec)
    normal = normal_window(values, model.manifest)
    asked = _farthest(values, normal, model.manifest)
    effects = _effects(model, values, normal, asked, of)
    order = np.argsort(-np.abs(effects), kind="stable")[:CONTRIBUTIONS_MAX]
    chosen = [(int(asked[i]), float(effects[i])) for i in order if abs(effects[i]) >= EFFECT_MIN[of]]
    return [_contribution(model.manifest, values, normal, tag, of, effect) for tag, effect in chosen]


def _farthest(values: Floats, normal: Floats, manifest: Manifest) -> NDArray[np.intp]:
    """Numbers of the tags to ask about: all with a value, or those whose newest is farthest from normal."""
    spread = np.array([manifest.references[tag].spread for tag in manifest.feature_spec.tags])
    rows, tags = _newest(values), np.arange(values.shape[1])
    away = np.abs(values[rows, tags] - normal[rows, tags]) / np.maximum(spread, np.finfo(np.float32).tiny)
    known = tags[np.isfinite(values[rows, tags])]
    return np.sort(known[np.argsort(-away[known], kind="stable")[:TAGS_MAX]])


def _newest(values: Floats) -> NDArray[np.intp]:
    """Row of the newest good value of each tag; the last row where there is none."""
    back: NDArray[np.intp] = np.argmax(np.isfinite(values)[::-1], axis=0)
    return len(values) - 1 - back


def _effects(
    model: Runs, values: Floats, normal: Floats, asked: NDArray[np.intp], of: Subject
) -> NDArray[np.float64]:
    """What each asked tag changes, `(len(asked),)`: cycles, or a share of the squared score."""
    count = len(asked)
    windows = np.stack([*_put(values, normal, asked), *_put(normal, values, asked), values, normal])
    answers = model.run(windows)
    if of == "rul":
        found = answers["rul"][:, 1].astype(np.float64)
    else:
        squared = answers["anomaly_score"].reshape(-1).astype(np.float64) ** 2
        found = squared / squared[-2]
    as_it_is, at_normal = found[-2:]
    effects: NDArray[np.float64] = (as_it_is - found[:count] + found[count:-2] - at_normal) / 2
    return effects


def _put(values: Floats, other: Floats, asked: NDArray[np.intp]) -> list[Floats]:
    """For each asked tag the window with that tag's column taken from `other`."""
    found = []
    for tag in asked:
        window = values.copy()
        window[:, tag] = other[:, tag]
        found.append(window)
    return found


def _contribution(
    manifest: Manifest, values: Floats, normal: Floats, tag: int, of: Subject, effect: float
) -> Contribution:
    row, name = _newest(values)[tag], manifest.feature_spec.tags[tag]
    return Contribution(
        tag=name,
        of=of,
        effect=effect,
        value=float(values[row, tag]),
        normal=float(normal[row, tag]),
        unit=manifest.references[name].unit,
    )
