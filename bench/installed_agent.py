"""The agent as it is on a machine: what dpkg, systemd and its own outbox say of it."""

from typing import Any

from bench.debian_machine import DebianMachine

UNIT = "edge-agent"
CONFIG, DATA = "/etc/edge-agent/reactor_config.yaml", "/var/lib/edge-agent"
SETTINGS = "/etc/edge-agent/agent.env"
EXAMPLE = "/usr/share/doc/edge-agent/examples/reactor_config.yaml"

Said = tuple[str, dict[str, Any]]  # what a step found: a line for people, figures for the last line


class InstalledAgent:
    """Each step raises CommandFailed or AssertionError where something is not as it should be."""

    def __init__(self, machine: DebianMachine) -> None:
        self.machine = machine
        self.store = ""  # of the first start; the site keeps it

    def version(self) -> str:
        return self.machine.run("dpkg-query", "--show", "--showformat=${Version}", UNIT)

    def ask(self, *command: str) -> tuple[str, ...]:
        return ("runuser", "-u", UNIT, "--", "edge-agent", *command, "--data-dir", DATA)

    def outbox(self) -> dict[str, Any]:
        found = self.machine.json(*self.ask("buffer", "stats", "--json"))
        assert isinstance(found, dict)
        return found

    def await_rows(self, number: int) -> None:
        code = f"import json, sys; sys.exit(json.load(sys.stdin)['last_seq'] < {number})"
        asked = " ".join(self.ask("buffer", "stats", "--json"))
        self.machine.until(f"row {number}", "sh", "-c", f'{asked} | python3 -c "{code}"')

    def await_status(self, part: str) -> None:
        self.machine.until(f"status {part}", "systemctl", "show", UNIT, "--property=StatusText", holds=[part])
