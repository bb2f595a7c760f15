"""What all panels have in common: colours that mean something, units by Grafana's ids, thresholds, sizes."""

from collections.abc import Sequence
from typing import Any, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models

# Red and orange are for alarms and warnings alone; what is no judgement is blue, purple or grey.
GOOD, WARNING, ALARM, NEUTRAL, SECOND, QUIET = "green", "orange", "red", "blue", "purple", "#8e8e8e"

CYCLES = "suffix: cycles"  # Grafana has no such unit
PERCENT, COUNT = units.Percent, units.Short
UNITS = {  # of a tag, as `reactor_config.yaml` writes it, to Grafana's id; any other stands behind the number
    "%": units.Percent,
    "A": units.Ampere,
    "Mohm": units.MegaOhm,
    "L/h": units.LitrePerHour,
    "L/min": units.LitrePerMinute,
    "N.m": units.NewtonMeters,
    "V": units.Volt,
    "bar": units.Bars,
    "degC": units.Celsius,
    "g": units.GUnit,
    "kN": units.KiloNewtons,
    "kPa": units.Kilopascals,
    "kW": units.KiloWatt,
    "mm": units.Millimeter,
    "ms": units.Milliseconds,
    "ohm": units.Ohm,
    "rpm": units.RevolutionsPerMinute,
    "s": units.Seconds,
}
HEIGHT, HALF, THIRD, WHOLE = 8, 12, 8, 24  # in Grafana's grid of 24 columns
NO_DATA = "No data"


P = TypeVar("P", bound=Any)  # a panel's builder


class Overridable(Protocol):
    """A panel that can look different by series."""

    def override_by_name(self, name: str, properties: list[models.DynamicConfigValue]) -> Self: ...


def unit_of(tag_unit: str) -> str:
    """Grafana's id for a tag's unit."""
    return UNITS.get(tag_unit, f"suffix: {tag_unit}")


def steps(*found: tuple[float | None, str]) -> dashboard_builders.ThresholdsConfig:
    """Colours from a value upwards; the first from anywhere."""
    return (
        dashboard_builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in found])
    )


def rul_steps(warning: float, alarm: float) -> dashboard_builders.ThresholdsConfig:
    """Red up to the alarm, orange up to the warning, green above."""
    return steps((None, ALARM), (alarm, WARNING), (warning, GOOD))


def lines(title: str, description: str, unit: str, targets: Sequence[Builder[Dataquery]]) -> timeseries.Panel:
    """Lines over time. A gap in the data is a gap in the line: no number is carried over one."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .height(HEIGHT)
        .span(HALF)
        .no_value(NO_DATA)
        .show_points(common.VisibilityMode.AUTO)
        .span_nulls(False)
        .line_width(1)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    return _asking(panel, targets)


def number(title: str, description: str, unit: str, targets: Sequence[Builder[Dataquery]]) -> stat.Panel:
    """The last number of each series, coloured by its thresholds."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .height(HEIGHT // 2)
        .span(HALF // 2)
        .no_value(NO_DATA)
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return _asking(panel, targets)


def listing(title: str, description: str, targets: Sequence[Builder[Dataquery]]) -> table.Panel:
    """A table."""
    panel = table.Panel().title(title).description(description).height(HEIGHT).span(WHOLE).no_value(NO_DATA)
    panel.align(common.FieldTextAlignment.AUTO).inspect(False)
    return _asking(panel, targets)


def columns(hidden: Sequence[str], names: dict[str, str]) -> models.DataTransformerConfig:
    """Of a table: what is left out, and what the others are called."""
    options = {
        "excludeByName": dict.fromkeys(hidden, True),
        "renameByName": names,
        "indexByName": {name: i for i, name in enumerate(names)},
    }
    return models.DataTransformerConfig(id_val="organize", options=options)


def coloured(panel: Overridable, name: str, color: str, *more: models.DynamicConfigValue) -> None:
    """One series always has this colour."""
    panel.override_by_name(name, [fixed(color), *more])


def fixed(color: str) -> models.DynamicConfigValue:
    """A colour that does not depend on the order of series."""
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})


def prop(name: str, value: object) -> models.DynamicConfigValue:
    """Any other property."""
    return models.DynamicConfigValue(id_val=name, value=value)


def _asking(panel: P, targets: Sequence[Builder[Dataquery]]) -> P:
    for target in targets:
        panel.with_target(target)
    found: Any = targets[0].build()
    panel.datasource(found.to_json()["datasource"])
    return panel
