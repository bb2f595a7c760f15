"""`edge-agent`: its commands, each a module of `edge_agent.commands`."""

import sys
from importlib.abc import MetaPathFinder

from shared import command_line

# Libraries of ours take these up wherever they are installed: a third of a start, and 77 MB for nothing.
NOT_NEEDED = ("pandas", "boto3")

COMMANDS = {
    "check": "Validate a configuration and show how the site's devices would be read.",
    "read": "Poll a site's devices once or for ever, and print each tag with its quality.",
    "run": "Look after one site: poll, score, keep, forward; until SIGTERM.",
    "buffer": "What this site has recorded and Kafka has not acknowledged yet.",
    "alarm": "This site's standing, latched and shelved alarms; shelve, unshelve, reset.",
    "export": "Write committed records as signed bundles, for a courier or a one-way gateway.",
    "certificate": "Make a certificate and its key, for OPC UA.",
    "enroll": "Get this site its certificate from the centre, with a one-time token.",
    "model": "The models this site runs.",
    "plant": "Serve a site's plant over its protocol: simulated, or replayed from recordings.",
    "fault": "Inject a fault into a plant that runs.",
    "simulate": "Simulate components: a batch for training, or a stream of readings.",
}


class _NotHere(MetaPathFinder):
    """As on a site, where only the agent is installed."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        """Not even where it is installed."""
        if fullname in NOT_NEEDED:
            raise ModuleNotFoundError(f"{fullname} is not for the agent", name=fullname)


def main() -> None:
    """Run the command line."""
    sys.meta_path.insert(0, _NotHere())
    command_line.run(
        "edge_agent.commands",
        COMMANDS,
        "One site's daemon: polls the plant read-only, scores locally, loses no reading.",
    )
