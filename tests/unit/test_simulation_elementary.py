"""exp, log and power of the simulation: accurate, whole in the corners, and nothing else is used."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import edge_agent.simulation
from edge_agent.simulation.physics.chance import TAIL, TAIL_STEP, standard_gamma, standard_normal
from edge_agent.simulation.physics.elementary import exp, log, power

LONG = np.longdouble  # 64 bits of mantissa or more: eleven more than are judged
POINTS = 200_000
ULP_MAX = 2.0
SIMULATION = Path(edge_agent.simulation.__file__).parent
ROUNDED_ALIKE = {  # by IEEE 754, or no arithmetic
    *("abs", "add", "append", "arange", "argmax", "array", "asarray", "atleast_1d", "bool_", "clip"),
    *("column_stack", "concatenate", "datetime_as_string", "empty", "errstate", "flatnonzero", "float64"),
    *("full", "full_like", "inf", "int64", "isfinite", "isnan", "maximum", "minimum", "multiply", "nan"),
    *("ones", "ones_like", "pi", "random", "rint", "searchsorted", "shape", "sqrt", "stack", "str_"),
    *("subtract", "uint32", "uint64", "where", "zeros", "zeros_like"),
}
GENERATORS = {"rng", "chance", "unit", "noise"}  # what they are called in the room
GENERATOR_ALIKE = {"choice", "random", "uniform", "columns"}  # integers, one product; columns is Noise's own
MATH_ALIKE = {"floor", "inf", "isfinite", "isnan", "nan"}
SUMS = {"cumprod", "cumsum", "dot", "mean", "prod", "std", "sum", "var"}
EXCUSED = {
    ("chance.py", "rng.standard_normal"),  # its tail is rounded there
}


def ulps(found: np.ndarray, right: np.ndarray) -> float:
    """The largest error in units of the last place of the right result."""
    return float(np.max(np.abs(found.astype(LONG) - right) / np.spacing(np.abs(right).astype(float))))


@pytest.fixture
def rng() -> np.random.Generator:
    if np.finfo(LONG).nmant < 63:
        pytest.skip("no long double here to judge by")
    return np.random.default_rng(7)


@pytest.mark.parametrize("ends", [(-708, 709), (-40, 10), (-1, 1), (-1e-6, 1e-6), (-745, -708)])
def test_exp_is_within_two_ulp(rng, ends):
    """Over all of the doubles, near 0 and among the subnormal results."""
    x = rng.uniform(*ends, POINTS)
    assert ulps(exp(x), np.exp(x.astype(LONG))) < ULP_MAX


@pytest.mark.parametrize("ends", [(1e-12, 1), (0.5, 2), (0.99, 1.01), (1 - 1e-9, 1 + 1e-9), (1, 1e300)])
def test_log_is_within_two_ulp(rng, ends):
    """Also next to 1, where the result nearly vanishes."""
    x = rng.uniform(*ends, POINTS)
    assert ulps(log(x), np.log(x.astype(LONG))) < ULP_MAX
    tiny = rng.uniform(0, 2.0**-1022, 1_000)
    assert ulps(log(tiny), np.log(tiny.astype(LONG))) < ULP_MAX


@pytest.mark.parametrize("exponent", [0.2, 1 / 3, 0.5, 2.5, 5, 19.7, 32, -0.05, -1.0, -20])
def test_power_is_within_two_ulp(rng, exponent):
    """For the exponents that wear laws may have, over results from 1e-260 to 1e260."""
    for span in (600 / max(abs(exponent), 1), 1.0):
        x = np.exp(rng.uniform(-span, span, POINTS))
        assert ulps(power(x, exponent), np.power(x.astype(LONG), LONG(exponent))) < ULP_MAX


def test_corners_are_those_of_ieee_and_silent():
    """0, infinities, NaN, overflow and underflow; a number gives what an array gives, and so does a part."""
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 800.0, -800.0, 5e-324, 1.0])
    nan, inf = np.nan, np.inf
    np.testing.assert_array_equal(exp(x)[:8], [1, 1, inf, 0, nan, inf, 0, 1])
    np.testing.assert_array_equal(log(x)[[0, 1, 2, 3, 4, 6, 8]], [-inf, -inf, inf, nan, nan, nan, 0])
    np.testing.assert_array_equal(power(x, 2.5)[[0, 1, 2, 4, 6, 8]], [0, 0, inf, nan, nan, 1])
    np.testing.assert_array_equal(power(x, -2.5)[[0, 1, 2, 4, 6, 8]], [inf, inf, 0, nan, nan, 1])
    np.testing.assert_array_equal(power(x, 0.0), np.ones(9))
    assert power(1e200, 5.0) == inf
    assert power(1e-200, 5.0) == 0.0
    assert exp(np.empty(0)).shape == (0,)
    assert exp(np.zeros((2, 3))).shape == (2, 3)
    spread = np.linspace(-800.0, 800.0, 999)
    for function in (exp, lambda v: log(np.abs(v)), lambda v: power(np.abs(v), 1.7)):
        whole = function(spread)
        assert [float(function(float(v))).hex() for v in spread] == [float(v).hex() for v in whole]
        np.testing.assert_array_equal(function(spread[::3]), whole[::3])


@pytest.mark.parametrize("shape", [0.05, 0.25, 0.9, 1.0, 1.7, 40.0])
def test_gamma_numbers_have_the_law_of_their_shape(shape):
    """A Kolmogorov-Smirnov test with a fixed seed; as many as asked for."""
    numbers = standard_gamma(np.random.Generator(np.random.PCG64(3)), shape, 20_000)
    assert numbers.shape == (20_000,)
    assert stats.kstest(numbers, stats.gamma(shape).cdf).pvalue > 0.01


def test_only_numbers_of_the_tail_are_rounded():
    """What NumPy draws, and beyond the ziggurat's end the nearest step to it."""
    raw = np.random.Generator(np.random.PCG64(3)).standard_normal(100_000)
    numbers = standard_normal(np.random.Generator(np.random.PCG64(3)), 100_000)
    tail = np.abs(raw) > TAIL
    assert 10 < np.count_nonzero(tail) < 50
    np.testing.assert_array_equal(numbers[~tail], raw[~tail])
    assert np.all(np.abs(numbers - raw) <= TAIL_STEP / 2)
    assert np.all(numbers[tail] % TAIL_STEP == 0)


@pytest.mark.parametrize("path", sorted(SIMULATION.rglob("*.py")), ids=lambda path: path.name)
def test_simulation_uses_nothing_that_cpus_round_in_their_own_way(path):
    """No np.exp, np.sin, np.sum, **, math.log, nor a generator's own law, in any module of the room."""
    found = [
        f"{path.name}:{node.lineno} {ast.unparse(node)}: {why}"
        for node in ast.walk(ast.parse(path.read_text()))
        if (why := wrong_with(node)) and (path.name, ast.unparse(node)) not in EXCUSED
    ]
    assert found == []


def wrong_with(node: ast.AST) -> str | None:
    """Why a part of a module may give other bits on another machine."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        whole = all(isinstance(side, ast.Constant | ast.Call) for side in (node.left, node.right))
        return None if whole else "may have a fraction for an exponent; use physics.elementary.power"
    if not isinstance(node, ast.Attribute):
        return None
    owner = ast.unparse(node.value)
    rules = {
        "is not known to round alike everywhere; use physics.elementary": owner == "np"
        and node.attr not in ROUNDED_ALIKE,
        "has the C library's last bit; use physics.elementary": owner == "math"
        and node.attr not in MATH_ALIKE,
        "sums in an order of the CPU's own; use np.add.accumulate": node.attr in SUMS,
        "has the C library's last bit; use physics.chance": owner.split(".")[-1].strip("_") in GENERATORS
        and node.attr not in GENERATOR_ALIKE,
    }
    return next((why for why, broken in rules.items() if broken), None)
