"""`faults` of a component in `reactor_config.yaml`: what the simulated plant injects, and when."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shared.plant_config import Section
from shared.schemas.base import Name

# What `size` may be, by fault type: its ends, both allowed. Types not here take none.
FAULT_SIZES = {
    "sudden_failure": (0.001, 1.0),  # performance lost
    "accelerated_decay": (1.0, 100.0),  # times the wear rate
    "spike": (0.0, 10.0),  # spans of the tag, upwards
    "drop": (0.0, 10.0),  # spans of the tag, downwards
    "leak": (0.0, 3.0),  # severity; 1 is a leak that an operator would call one
    "bearing_spall": (0.0, 3.0),  # severity
    "fouling_surge": (0.0, 3.0),  # severity
    "sensor_bias": (-10.0, 10.0),  # spans of the tag
    "sensor_drift": (-0.1, 0.1),  # spans of the tag per cycle
    "sensor_noise": (0.0, 10.0),  # standard deviation added, in spans of the tag
}
TAG_FAULTS = frozenset(  # strike one tag; the others act on the component
    {"spike", "drop", "sensor_bias", "sensor_drift", "sensor_stuck", "sensor_noise", "sensor_dropout"}
)
WEAR_FAULTS = frozenset(  # change the wear itself, which nothing undoes
    {"sudden_failure", "accelerated_decay", "bearing_spall", "fouling_surge"}
)


class ScheduledFault(Section):
    """A fault that the simulated plant injects at a cycle.

    `size` is in the unit of `FAULT_SIZES`; left out, it is the type's usual or a random one. `tag` is
    the transmitter a sensor fault strikes, else one at random. `duration_cycles` ends a fault that can
    end; spike and drop last 3 cycles, the others for good.
    """

    type: Literal[
        "sudden_failure",
        "accelerated_decay",
        "spike",
        "drop",
        "leak",
        "bearing_spall",
        "fouling_surge",
        "sensor_bias",
        "sensor_drift",
        "sensor_stuck",
        "sensor_noise",
        "sensor_dropout",
    ]
    at_cycle: int = Field(ge=0)
    tag: Name | None = None
    duration_cycles: int | None = Field(default=None, ge=1)
    size: float | None = None

    @model_validator(mode="after")
    def _settings_belong_to_the_type(self) -> Self:
        if self.tag is not None and self.type not in TAG_FAULTS:
            raise ValueError(f"{self.type} acts on the component; leave out tag {self.tag!r}")
        if self.duration_cycles is not None and self.type in WEAR_FAULTS:
            raise ValueError(f"{self.type} changes the wear for good; leave out duration_cycles")
        if self.size is not None:
            self._check_size(self.size)
        return self

    def _check_size(self, size: float) -> None:
        if self.type not in FAULT_SIZES:
            raise ValueError(f"{self.type} has no size; leave out {size}")
        low, high = FAULT_SIZES[self.type]
        if not low <= size <= high:
            raise ValueError(f"size {size} of {self.type}; allowed: {low} to {high}")
