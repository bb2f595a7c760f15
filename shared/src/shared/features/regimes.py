"""Operating regimes: which one a row is of, what is usual in each, and values as distances from that.

A pump at half load is not a worn pump. Where the load is a tag, values are compared with those of the same
regime (Heimes 2008 and most work on C-MAPSS FD002 and FD004 do so). Fitted once, on training units.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.features.spec import Normalisation

REGIMES_MAX = 64  # more would leave each too few rows to know its spread
ROUNDS_MAX = 100  # of k-means; some ten settle what regimes a plant has
STD_RELATIVE_MIN = 1e-6  # of the mean: a tag that moves less is constant, and its z-score is value less mean
SCORE_MAX = np.float32(1e6)  # standard deviations; keeps a wild value finite downstream

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bits = NDArray[np.bool_]


def normalise(
    values: Floats, present: Bits, normalisation: Normalisation, tags: tuple[str, ...]
) -> tuple[Floats, Bits]:
    """Z-scores of `(..., n, T)` by the regime of each row, and which are known.

    A row whose regime cannot be told, because a regime tag is missing, is missing as a whole: another
    regime's z-score would be wrong by many deviations and look like any other number.
    """
    mean, std, centres, scale = _tables(normalisation)
    if not normalisation.regime_tags:
        return _score(values, mean[0], std[0]), present
    at = [tags.index(tag) for tag in normalisation.regime_tags]
    known = present & present[..., at].all(axis=-1, keepdims=True)
    regime = nearest(values[..., at].astype(np.float64), centres, scale)
    return _score(values, mean[regime], std[regime]), known


def _score(values: Floats, mean: Floats, std: Floats) -> Floats:
    with np.errstate(over="ignore"):  # the clip is for that
        score: Floats = np.clip((values - mean) / std, -SCORE_MAX, SCORE_MAX)
    return score


def nearest(points: Doubles, centres: Doubles, scale: Doubles) -> NDArray[np.intp]:
    """Number of the nearest centre of `(..., D)` points; the lowest wins a tie."""
    best = np.zeros(points.shape[:-1], np.intp)
    least = np.full(points.shape[:-1], np.inf)
    for number, centre in enumerate(centres):
        distance = np.zeros(points.shape[:-1])
        for axis, (middle, unit) in enumerate(zip(centre, scale, strict=True)):
            distance += ((points[..., axis] - middle) / unit) ** 2
        best[distance < least] = number
        least = np.minimum(distance, least)
    return best


def fit_normalisation(
    units_values: Sequence[Floats], tags: Sequence[str], regime_tags: Sequence[str] = (), regimes: int = 1
) -> Normalisation:
    """What is usual by regime, from the histories `(n, T)` of training units; NaN where a value was bad.

    Regimes are the clusters of the rows in the regime tags (k-means from the farthest points, without
    chance), sorted by their centres. ValueError when a tag is unknown or never good, or the rows do not
    show so many regimes.
    """
    _check(units_values, tags, regime_tags, regimes)
    rows = np.concatenate([np.asarray(values, np.float64) for values in units_values])
    rows[~np.isfinite(rows)] = np.nan
    never = [tag for tag, column in zip(tags, rows.T, strict=True) if np.isnan(column).all()]
    if never:
        raise ValueError(f"no training unit has a good value of {', '.join(never)}; leave the tag out")
    points = rows[:, [list(tags).index(tag) for tag in regime_tags]]
    known = ~np.isnan(points).any(axis=1)
    scale = _scale(points[known])
    centres = _centres(points[known], scale, regimes)
    members = nearest(points[known], centres, scale)
    mean, std = _usual(rows[known], members, regimes)
    return Normalisation(
        regime_tags=tuple(regime_tags),
        regime_scale=_as_row(scale),
        centres=tuple(map(_as_row, centres)),
        mean=tuple(map(_as_row, mean)),
        std=tuple(map(_as_row, std)),
    )


def _check(
    units_values: Sequence[Floats], tags: Sequence[str], regime_tags: Sequence[str], regimes: int
) -> None:
    unknown = [tag for tag in regime_tags if tag not in tags]
    if unknown:
        raise ValueError(f"regime tag {unknown[0]!r} is not among the tags {', '.join(tags)}")
    if not units_values or not sum(len(values) for values in units_values):
        raise ValueError("no row to fit a normalisation on; give at least one training unit with rows")
    for number, values in enumerate(units_values):
        if np.ndim(values) != 2 or np.shape(values)[1] != len(tags):
            raise ValueError(
                f"unit {number} has values of shape {np.shape(values)}; (rows, {len(tags)} tags) are needed"
            )
    if not 1 <= regimes <= REGIMES_MAX:
        raise ValueError(f"{regimes} regimes; give 1 to {REGIMES_MAX}")
    if regimes > 1 and not regime_tags:
        raise ValueError(f"{regimes} regimes and no regime tag to tell them by; name the tags")


def _scale(points: Doubles) -> Doubles:
    """The spread of each regime tag; 1 for one that never moves."""
    if not len(points):
        raise ValueError("no row has all regime tags good; leave out the one that is missing")
    return _spread(points)


def _centres(points: Doubles, scale: Doubles, regimes: int) -> Doubles:
    """`(R, D)`, sorted: Lloyd's k-means from farthest-point seeds (Gonzalez 1985), so without chance."""
    centres = [points.mean(axis=0)]
    if regimes > 1:
        centres = [points[np.argmax((((points - centres[0]) / scale) ** 2).sum(axis=1))]]
    away = np.full(len(points), np.inf)
    for _ in range(regimes - 1):
        away = np.minimum(away, (((points - centres[-1]) / scale) ** 2).sum(axis=1))
        if not away.max() > 0:
            raise ValueError(f"the rows show {len(centres)} regimes, not {regimes}; ask for fewer")
        centres.append(points[np.argmax(away)])
    found = np.array(centres)
    for _ in range(ROUNDS_MAX):
        members = nearest(points, found, scale)
        moved = np.array([_middle(points[members == r], found[r]) for r in range(regimes)])
        if np.array_equal(moved, found):
            break
        found = moved
    return found[np.lexsort(found.T[::-1])] if found.shape[1] else found


def _middle(points: Doubles, before: Doubles) -> Doubles:
    return points.mean(axis=0) if len(points) else before


def _usual(rows: Doubles, members: NDArray[np.intp], regimes: int) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation `(R, T)`; those of all rows where a regime never had a tag good."""
    mean = np.tile(np.nanmean(rows, axis=0), (regimes, 1))
    std = np.tile(_spread(rows), (regimes, 1))
    for regime in range(regimes):
        part = rows[members == regime]
        some = ~np.isnan(part).all(axis=0)
        mean[regime, some] = np.nanmean(part[:, some], axis=0)
        std[regime, some] = _spread(part[:, some])
    return mean, std


def _spread(rows: Doubles) -> Doubles:
    std = np.nanstd(rows, axis=0)
    return np.where(std > STD_RELATIVE_MIN * np.abs(np.nanmean(rows, axis=0)), std, 1.0)


def _as_row(numbers: Doubles) -> tuple[float, ...]:
    """Float32 numbers, as the kernel uses them."""
    return tuple(float(number) for number in numbers.astype(np.float32))


@lru_cache(maxsize=64)  # specs in use at once: a site has some ten component types
def _tables(normalisation: Normalisation) -> tuple[Floats, Floats, Doubles, Doubles]:
    """Mean and standard deviation as the kernel's float32; centres and scale."""
    return (
        np.array(normalisation.mean, np.float32),
        np.array(normalisation.std, np.float32),
        np.array(normalisation.centres, np.float64),
        np.array(normalisation.regime_scale, np.float64),
    )
