"""ThingsBoard Gateway in an environment of its own and in its best mode: ranges, QoS 1, SQLite storage.

Without a platform it needs one answer to begin, that of `getSessionLimits`; `Platform` gives it without
any limit and takes what the gateway publishes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from bench.edge_site import HOST
from shared.config_defaults import FIRST_TAG_ADDRESS
from shared.reactor_config import MODBUS_READ_REGISTERS_MAX

VERSION = "3.8.5"
REQUIREMENTS = [f"thingsboard-gateway=={VERSION}", "pymodbus==3.9.2", "pyserial", "pyserial-asyncio"]
HOME = Path(".bench") / f"thingsboard-gateway-{VERSION}"
NO_LIMIT = "0:0,"
LIMITS = {"messages": NO_LIMIT, "telemetryMessages": NO_LIMIT, "telemetryDataPoints": NO_LIMIT}
SESSION = {
    "maxPayloadSize": 65_536,
    "maxInflightMessages": 1_000,
    "rateLimits": LIMITS,
    "gatewayRateLimits": LIMITS,
}
Taken = Callable[[str, dict[str, float]], None]  # unit's name, values by tag


def installed() -> Path:
    """Its program; made once, in `.bench`."""
    program = (HOME / "bin" / "thingsboard-gateway").resolve()
    if not program.exists():
        print(f"installing ThingsBoard Gateway {VERSION} into {HOME}", flush=True)
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(HOME)], check=True)
        python = str(HOME / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *REQUIREMENTS], check=True)
    return program


class Gateway:
    """One gateway with its folder; started and killed as the agent is."""

    def __init__(self, folder: Path, units: int, tags: int, modbus_port: int, mqtt_port: int) -> None:
        self._folder, self._program = folder, installed()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("config", "logs", "data"):
            (folder / name).mkdir(parents=True)
        self._write("tb_gateway", _gateway(folder / "data", mqtt_port))
        self._write(
            "modbus", {"master": {"slaves": [_slave(u, tags, modbus_port) for u in range(1, units + 1)]}}
        )
        self._write("connected_devices", {})
        handler = {"class": "logging.StreamHandler", "level": "ERROR", "stream": "ext://sys.stderr"}
        quiet = {"pymodbus": {"level": "CRITICAL"}, "pymodbus.logging": {"level": "CRITICAL"}}
        root = {"level": "ERROR", "handlers": ["stderr"]}
        self._write("logs", {"version": 1, "handlers": {"stderr": handler}, "loggers": quiet, "root": root})

    def _write(self, name: str, document: dict[str, Any]) -> None:
        (self._folder / "config" / f"{name}.json").write_text(json.dumps(document))

    def start(self) -> None:
        """It answers when it likes: about 10 s."""
        environment = os.environ | {"TB_GW_CONFIG_DIR": str(self._folder.resolve() / "config")}
        environment.pop("PYTHONPATH", None)
        with (self._folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program], env=environment, cwd=self._folder, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        return self._process.pid if self._process is not None else 0

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _gateway(data: Path, mqtt_port: int) -> dict[str, Any]:
    of_gateway = ("rateLimits", "dpRateLimits", "messagesRateLimits")
    of_devices = ("deviceRateLimits", "deviceDpRateLimits", "deviceMessagesRateLimits")
    thingsboard = {
        "host": HOST,
        "port": mqtt_port,
        "remoteShell": False,
        "remoteConfiguration": False,
        "statistics": {"enable": False},
        "maxPayloadSizeBytes": 65_000,
        "minPackSendDelayMS": 0,
        "minPackSizeToSend": 500,
        "security": {"type": "accessToken", "accessToken": "benchmark"},
        "qos": 1,
        "checkingDeviceActivity": {"checkDeviceInactivity": False},
    } | dict.fromkeys((*of_gateway, *of_devices), "0:0")
    modbus = {"type": "modbus", "name": "modbus", "configuration": "modbus.json"}
    storage = {"type": "sqlite", "data_file_path": f"{data.resolve()}/", "max_read_records_count": 1_000}
    return {
        "thingsboard": thingsboard,
        "storage": storage,
        "grpc": {"enabled": False},
        "connectors": [modbus],
    }


def _slave(unit: int, tags: int, port: int) -> dict[str, Any]:
    last = FIRST_TAG_ADDRESS + 2 * tags - 1
    series = {
        "tag": "a${address}",
        "type": "32float",
        "functionCode": 3,
        "objectsCount": 2,
        "address": f"{FIRST_TAG_ADDRESS}-{last}",
        "maxRegistersPerRequest": MODBUS_READ_REGISTERS_MAX - 1,  # whole float32 only
    }
    return {
        "host": HOST, "port": port, "type": "tcp", "method": "socket", "unitId": unit,
        "deviceName": f"unit_{unit}", "deviceType": "default", "timeout": 1, "byteOrder": "BIG",
        "wordOrder": "BIG", "retries": 0, "pollPeriod": 1_000, "connectAttemptTimeMs": 500,
        "connectAttemptCount": 5, "waitAfterFailedAttemptsMs": 30_000, "attributes": [],
        "timeseries": [series], "attributeUpdates": [], "rpc": [],
    }  # fmt: skip


@contextmanager
def platform(mqtt_port: int, taken: Taken) -> Iterator[None]:
    """Subscribe as the platform; each record of each unit goes to `taken`, by our names of the tags."""

    def on_connect(client: Client, *_: Any) -> None:
        client.subscribe("v1/#", 1)

    def on_message(client: Client, _: Any, message: MQTTMessage) -> None:
        if message.topic.startswith("v1/devices/me/rpc/request/"):
            client.publish(message.topic.replace("request", "response"), json.dumps(SESSION), 1)
        elif message.topic == "v1/gateway/telemetry":
            for unit, records in json.loads(message.payload).items():
                for record in records:
                    taken(unit, {_tag(name): value for name, value in record["values"].items()})

    client = Client(CallbackAPIVersion.VERSION2, client_id="platform", clean_session=False)
    client.on_connect, client.on_message = on_connect, on_message
    client.reconnect_delay_set(1, 1)
    client.connect_async(HOST, mqtt_port)
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def _tag(name: str) -> str:
    """The gateway names a value by its register, after a failed block by a wrong one."""
    return f"t{(int(name[1:]) - FIRST_TAG_ADDRESS) // 2}"
