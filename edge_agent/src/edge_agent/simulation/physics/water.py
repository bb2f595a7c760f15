"""Where water boils: the saturation line of IAPWS-IF97, region 4 (equations 30 and 31)."""

import numpy as np

from edge_agent.simulation.components import FloatArray

KELVIN = 273.15
CELSIUS_MAX = 373.0  # just below the critical point, 373.946 degC; the line ends there
KPA_MIN = 0.7  # just above the triple point, 0.612 kPa; the line begins there
KPA_MAX = 22_000.0  # just below the critical point, 22,064 kPa

# Coefficients n1 to n10 of region 4 (IAPWS R7-97, table 34).
_N1, _N2, _N3, _N4, _N5 = (
    1167.0521452767,
    -724213.16703206,
    -17.073846940092,
    12020.824702470,
    -3232555.0322333,
)
_N6, _N7, _N8, _N9, _N10 = (
    14.915108613530,
    -4823.2657361591,
    405113.40542057,
    -0.23855557567849,
    650.17534844798,
)


def saturation_kpa(celsius: FloatArray) -> FloatArray:
    """Vapour pressure, kPa, from 0 degC to `CELSIUS_MAX` (taken at the nearer end outside)."""
    kelvin = np.clip(celsius, 0.0, CELSIUS_MAX) + KELVIN
    theta = kelvin + _N9 / (kelvin - _N10)
    a = theta * theta + _N1 * theta + _N2
    b = _N3 * theta * theta + _N4 * theta + _N5
    c = _N6 * theta * theta + _N7 * theta + _N8
    root = 2.0 * c / (np.sqrt(b * b - 4.0 * a * c) - b)
    return np.asarray(1_000.0 * (root * root) * (root * root))


def saturation_c(kpa: FloatArray) -> FloatArray:
    """Boiling temperature, degC, from `KPA_MIN` to `KPA_MAX` (taken at the nearer end outside)."""
    beta = np.sqrt(np.sqrt(np.clip(kpa, KPA_MIN, KPA_MAX) / 1_000.0))
    e = beta * beta + _N3 * beta + _N6
    f = _N1 * beta * beta + _N4 * beta + _N7
    g = _N2 * beta * beta + _N5 * beta + _N8
    d = 2.0 * g / (-f - np.sqrt(f * f - 4.0 * e * g))
    total = _N10 + d
    return np.asarray((total - np.sqrt(total * total - 4.0 * (_N9 + _N10 * d))) / 2.0 - KELVIN)
