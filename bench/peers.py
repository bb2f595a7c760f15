"""The agent beside ThingsBoard Gateway 3.8.5: the same Modbus server, each to its own broker, one run.

*CPU*: 10 units x 1,000 float32 at 1 Hz, in turns; ours scores every unit with a signed LSTM and sends to Apache
Kafka, the gateway's best mode reads ranges, keeps them in SQLite and sends to Mosquitto with QoS 1.
*Faults*: 2 units x 100 float32 whose numbers tell their own tag and tick (each tick stands for two polls): the
broker away for 15 s, `kill -9` of the program, and a device without one of its tags' registers. Counted at the
far side of the broker: numbers under a wrong tag, and numbers of whole ticks that never came. Ticks of which
less than the whole was seen by a running program are left out. Limit: ours >= 10 x its points a CPU second.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
from confluent_kafka import Consumer

from bench.edge_site import HOST, SITE, TICK_STEP, AgentProcess, Site, serving, write_config
from bench.thingsboard import VERSION, Gateway, platform
from shared.listen import free_port
from tests.support.kafka import KafkaBroker, kafka_broker
from tests.support.services import wait_for_port

PERIOD_S = 1.0
CPU_UNITS, CPU_TAGS, CPU_S = 10, 1_000, 30.0
TURNS = 2
FAULT_UNITS, FAULT_TAGS = 2, 100
FAULT_TICK_S = 2.0  # two polls, so that a poll that drifts against the tick misses none
MISSING_TAG = 40  # its registers are not there: the device answers exception 02
BEFORE_S, AWAY_S, AFTER_S = 16.0, 15.0, 40.0
START_S = 90.0
RATIO_MIN = 10.0
FAULTS = ("broker away", "kill -9", "missing register")

Taken = Callable[[str, dict[str, float]], None]
