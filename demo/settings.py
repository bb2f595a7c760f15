"""What the demo is made of: folders, ports, sites, the fault."""

import csv
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from control_plane.layout import Layout
from shared.config_defaults import builtin_types
from shared.listen import free_port

CONSOLE_PORT = 8080  # the one a person types; another is taken when it is in use
FAULT = ("TX01", "R1", "coolant_pump", "sudden_failure")
REPLAY_SITE = "RIG01"
REPLAY_LEAD_ROWS = 50  # recorded rows before the first labelled anomaly
PERIOD_S = 0.5  # plant.poll_period_s of the product's reactor_config.yaml


@dataclass(frozen=True)
class Demo:
    """Where everything of one run lies, and which ports it uses."""

    root: Path
    seconds: float | None
    recordings: Path | None
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.root / "reactor_config.yaml"

    @property
    def centre(self) -> Layout:
        return Layout(self.root / "centre")

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def site(self, site: str) -> Path:
        """A site's own folder."""
        return self.root / "sites" / site

    def ledger(self, site: str) -> Path:
        """What a site's plant wrote down as served."""
        return self.root / "plants" / f"{site}.jsonl"

    def at(self, name: str) -> str:
        """HOST:PORT of a part."""
        return f"127.0.0.1:{self.ports[name]}"

    def url(self, path: str = "") -> str:
        """An address at the centre."""
        return f"http://{self.at('console')}{path}"

    @property
    def fault_cycle(self) -> int:
        """When the fault comes: past the first scores, with time left to see it."""
        cycles = (self.seconds or 60) / PERIOD_S
        return int(min(80, max(35, cycles * 0.5)))


def find_recordings(folder: Path) -> Path | None:
    """The folder of SKAB's `valve1` recordings under `folder`, or None."""
    return next((f for f in (folder / "valve1", folder) if any(f.glob("*.csv"))), None)


def free_ports() -> dict[str, int]:
    """A port for each part of the centre and for the broker."""
    names = ("console", "broker", "fleet", "repositories", "enrolment", "inference")
    return {name: free_port() for name in names}


def choose_ports() -> dict[str, int]:
    """The console's own port when it is free, and free ones for the rest."""
    ports = free_ports()
    try:
        socket.create_server(("127.0.0.1", CONSOLE_PORT)).close()
    except OSError:
        return ports
    return ports | {"console": CONSOLE_PORT}


def write_config(demo: Demo, source: Path) -> list[str]:
    """The product's configuration with this run's ports and the fault; the sites it names."""
    document: dict[str, Any] = yaml.safe_load(source.read_text())
    for site, section in document.items():
        section["plant"]["port"] = demo.ports.setdefault(f"plant-{site}", free_port())
        demo.ports[f"health-{site}"] = free_port()
    site, reactor, component, fault = FAULT
    document[site][reactor][component]["faults"] = [{"type": fault, "at_cycle": demo.fault_cycle}]
    if demo.recordings is None:  # without recorded data the rig is a pump of the simulator's
        tags = builtin_types()["coolant_pump"]["tags"]
        columns = {name: tag | {"column": name} for name, tag in tags.items()}
        document[REPLAY_SITE]["LOOP1"] = {"reactor_type": "test_rig", "coolant_pump": {"tags": columns}}
    demo.config.write_text(yaml.safe_dump(document, sort_keys=False))
    return list(document)


def first_anomaly_row(folder: Path) -> int:
    """The row of the folder's first file where its first labelled anomaly is near; 0 without labels."""
    first = min(folder.glob("*.csv"), key=lambda p: (len(p.stem), p.stem))
    with first.open(newline="") as text:
        for number, row in enumerate(csv.DictReader(text, delimiter=";")):
            if row.get("anomaly", "0") not in ("0", "0.0", ""):
                return max(0, number - REPLAY_LEAD_ROWS)
    return 0
