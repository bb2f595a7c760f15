"""How a prediction's reasons read, in an alert as on a page. Pure: records in, text out."""

from shared.interpret import OUT_OF_DISTRIBUTION
from shared.operation import NOT_RUNNING, STARTING_UP
from shared.schemas import Contribution
from shared.sensors import NO_READING

SIGNIFICANT_DIGITS = 4  # a plant's instruments seldom resolve more
MINUS = "\N{MINUS SIGN}"


def contribution(found: Contribution, unit: str | None = None) -> str:
    """For example "pressure drop 14.2 bar, 1.1 bar below normal: -23 cycles", with a minus sign.

    `unit` is how the tag's unit is written where it is shown; as in the record when left out.
    """
    unit = found.unit if unit is None else unit
    name = found.tag.replace("_", " ")
    if found.of == "rul":
        effect = f"{found.effect:+.0f} cycles".replace("-", MINUS)
    else:
        effect = f"{found.effect:.0%} of the anomaly score".replace("-", MINUS)
    if found.value is None:
        return f"{name}: {effect}"
    away = found.value - found.normal
    side = f"{_number(abs(away))} {unit} {'below' if away < 0 else 'above'} normal"
    return f"{name} {_number(found.value)} {unit}, {side if away else 'normal'}: {effect}"


def withheld(because: str | None) -> str:
    """Why a number is withheld; older records do not say."""
    kind, _, tag = (because or "").partition(":")
    name = tag.replace("_", " ")
    return {
        NOT_RUNNING: "not running",
        STARTING_UP: "running again, not for most of the window yet",
        NO_READING: "no reading in the window",
        OUT_OF_DISTRIBUTION: "input unlike the training data",
        "sensor_invalid": f"{name} without a number for most of the window",
        "sensor_stuck": f"{name} stuck at one value",
    }.get(kind, "input or sensors not to be relied on")


def _number(value: float) -> str:
    return f"{value:.{SIGNIFICANT_DIGITS}g}"
