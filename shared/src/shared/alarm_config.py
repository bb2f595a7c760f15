"""How an alarm behaves, by kind: the settings of `alarms` in reactor_config.yaml, in ISA-18.2's terms."""

from pydantic import Field

from shared.plant_config import Section

DELAY_MAX = 100_000  # readings or scores: a day at one a second


class AlarmSettings(Section):
    """What every kind has. Delays are in consecutive readings (`limit`, `sensor`) or scores."""

    on_delay: int = Field(default=2, ge=1, le=DELAY_MAX, description="abnormal ones before it is raised")
    off_delay: int = Field(default=5, ge=1, le=DELAY_MAX, description="normal ones before it clears")
    latching: bool = Field(default=False, description="once normal again it stays until it is reset")


class AnomalyAlarm(AlarmSettings):
    """The anomaly score beyond its threshold, about which it hovers when wear begins."""

    deadband: float = Field(default=0.1, ge=0, lt=1, description="share of the threshold")


class RulAlarm(AlarmSettings):
    """The RUL at or below `rul_warning` or `rul_alarm`: one alarm, which escalates."""

    deadband: float = Field(default=0.1, ge=0, lt=1, description="share of rul_warning")


class LimitAlarm(AlarmSettings):
    """A tag beyond a fixed limit. A limit's own `deadband`, in the tag's unit, comes first."""

    deadband: float = Field(default=0.02, ge=0, lt=1, description="share of the limit")


class SensorAlarm(AlarmSettings):
    """A tag without a number."""

    on_delay: int = Field(default=3, ge=1, le=DELAY_MAX, description="polls without a number, at first")


class Alarms(Section):
    """A component's alarms. An alarm clears only when its value is normal by the `deadband`."""

    anomaly: AnomalyAlarm = AnomalyAlarm()
    rul_low: RulAlarm = RulAlarm()
    limit: LimitAlarm = LimitAlarm()
    sensor: SensorAlarm = SensorAlarm()
