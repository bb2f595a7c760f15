"""sd_notify(3): one datagram a message to the socket that systemd named, and the watchdog's sign of life."""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

STATUS_CHARS_MAX = 400  # `systemctl status` shows one line
UNSENT_MAX = 16  # messages kept while systemd does not read; then the oldest are left out


class ServiceManager:
    """Says how the service is doing; without NOTIFY_SOCKET it says nothing, and nothing fails."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # abstract: no file
        self._watchdog_s = _watchdog_s(environment)
        self._status = ""
        self._unsent: deque[bytes] = deque(maxlen=UNSENT_MAX)

    def ready(self) -> None:
        """The service does its work (again): `systemctl start`, or `reload`, returns."""
        self._say("READY=1")

    def reloading(self) -> None:
        """SIGHUP was heard; `ready` follows when its outcome is known."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """SIGTERM was heard; what is committed drains."""
        self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent only when it changed."""
        line = " ".join(text.split())[:STATUS_CHARS_MAX]
        if line != self._status:
            self._status = line
            self._say(f"STATUS={line}")
        self._send()

    async def watch(self, alive: Callable[[], bool]) -> None:
        """Ping at half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises, for as long as `alive`.

        It runs on the event loop that it vouches for: when that hangs, the pings end too.
        """
        while self._watchdog_s is not None:
            if alive():
                self._say("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)
        await asyncio.Event().wait()

    def _say(self, *fields: str) -> None:
        self._unsent.append("\n".join(fields).encode())
        self._send()

    def _send(self) -> None:
        """What was said, in order; what systemd has no room for now goes with the next thing said."""
        while self._address and self._unsent:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)  # a poll waits for nobody
                try:
                    channel.sendto(self._unsent[0], self._address)
                except OSError:
                    return  # a service manager that is away is no reason to fail a site
            self._unsent.popleft()


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """What systemd allows between two pings; None when it does not watch this process."""
    wanted, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or int(wanted) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(wanted) / 1e6
