"""Signed releases to verified bytes in one of two model slots.

Enters: what the image and the director repository say. Leaves: releases that both name, byte for byte.
Never: a model from a path, bytes that were not verified, scoring stopped by the network or a clock.
"""

from edge_agent.update.answer import Answer, State
from edge_agent.update.fleet_client import FleetClient
from edge_agent.update.folder_fetcher import FOLDER_URL, FolderFetcher
from edge_agent.update.health import Comparison, Failure, HealthLimits, sample
from edge_agent.update.hold import HOLD_MAX, Hold, HoldFile
from edge_agent.update.import_tray import ImportTray
from edge_agent.update.outcome import Outcome
from edge_agent.update.probe import load_apart
from edge_agent.update.release import Release
from edge_agent.update.release_client import ReleaseClient
from edge_agent.update.slots import ModelSlots
from edge_agent.update.updater import Updater

__all__ = [
    "FOLDER_URL",
    "HOLD_MAX",
    "Answer",
    "Comparison",
    "Failure",
    "FleetClient",
    "FolderFetcher",
    "HealthLimits",
    "Hold",
    "HoldFile",
    "ImportTray",
    "ModelSlots",
    "Outcome",
    "Release",
    "ReleaseClient",
    "State",
    "Updater",
    "load_apart",
    "sample",
]
