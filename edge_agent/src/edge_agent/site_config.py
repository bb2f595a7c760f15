"""What one configuration file says of this site."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shared.errors import ConfigError
from shared.plant_config import Plant
from shared.reactor_config import Component, FleetConfig
from shared.schemas import ComponentId


@dataclass(frozen=True)
class SiteConfig:
    """How the plant is reached, what is polled there, and the hash of the whole file."""

    plant: Plant
    components: Mapping[ComponentId, Component]
    hash: str

    @classmethod
    def of(cls, fleet: FleetConfig, site_id: str, file: str) -> Self:
        """This site's part; ConfigError when the file has no such site, or nothing to poll there."""
        if site_id not in fleet.sites:
            known = ", ".join(fleet.sites)
            raise ConfigError(file, [f"site {site_id!r} is not in the file; its sites are {known}"])
        components = fleet.components(site_id)
        if not components:
            problem = f"{site_id}: has no component; for example R1: {{coolant_pump: {{}}}}"
            raise ConfigError(file, [problem])
        return cls(fleet.sites[site_id].plant, components, fleet.hash())

    def polls_like(self, other: Self) -> bool:
        """Whether the same source reads both."""
        return (self.plant, self.components) == (other.plant, other.components)
