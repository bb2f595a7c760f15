"""Faults asked of a running plant: a file that `edge-agent fault` appends to and the plant answers in.

Enters: a JSON line a request, from any process. Leaves: which faults are due, and, in the same file, the
cycle at which each was injected or why it was not; so that a plant that starts again is the same plant.
"""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.config_errors import describe
from shared.errors import ConfigError
from shared.fault_config import ScheduledFault
from shared.reactor_config import Component
from shared.schemas import ComponentId

FILE_BYTES_MAX = 4 * 1024 * 1024  # some 15,000 requests with their answers; a longer one is no such file
Line = dict[str, Any]


def ask(path: Path, component_id: ComponentId, fault: ScheduledFault) -> str:
    """Append a request for the plant's next cycle; returns its id. `fault.at_cycle` is ignored."""
    request = uuid.uuid4().hex
    settings = fault.model_dump(exclude={"at_cycle"}, exclude_none=True)
    _append(path, {"request": request, "component": component_id.key, "fault": settings})
    return request


def answer_to(path: Path, request: str) -> Line | None:
    """The plant's answer, `{"answer": request, "at_cycle": n}` or with `refused`; None as yet."""
    lines, _ = _read(path, 0)
    return next((line for line in lines if line.get("answer") == request), None)


class FaultRequests:
    """The plant's side of the file, which is made if it is missing. ConfigError when it is unreadable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._open: dict[str, Line] = {}
        self._injected: list[tuple[str, ScheduledFault]] = []

    def load(self) -> None:
        """Read what was asked and answered before."""
        try:
            self._path.touch()
        except OSError as error:
            raise ConfigError("--faults", [f"{self._path} cannot be written: {error.strerror}"]) from error
        self._take()

    def resumed(self, components: Mapping[ComponentId, Component]) -> dict[ComponentId, Component]:
        """The components with what was injected before as scheduled faults, first at their cycle."""
        return {
            place: section.model_copy(
                update={"faults": tuple(f for key, f in self._injected if key == place.key) + section.faults}
            )
            for place, section in components.items()
        }

    def due(self) -> list[tuple[str, str, Line]]:
        """Requests without an answer, in order: id, component key, settings with the `type`."""
        self._take()
        return [(request, str(line["component"]), line["fault"]) for request, line in self._open.items()]

    def injected(self, request: str, at_cycle: int) -> None:
        """Put on record that the fault begins at `at_cycle`, before anything of that cycle is shown."""
        self._answer(request, {"at_cycle": at_cycle})

    def refused(self, request: str, reason: str) -> None:
        """Put on record that it was not injected."""
        self._answer(request, {"refused": reason})

    def _answer(self, request: str, said: Line) -> None:
        _append(self._path, {"answer": request, **said})
        self._open.pop(request)

    def _take(self) -> None:
        lines, self._offset = _read(self._path, self._offset)
        for line in lines:
            if isinstance(line.get("fault"), dict) and "component" in line and "request" in line:
                self._open[str(line["request"])] = line
            elif (asked := self._open.pop(str(line.get("answer")), None)) and "at_cycle" in line:
                self._injected.append((str(asked["component"]), self._scheduled(asked, line)))

    def _scheduled(self, asked: Line, answer: Line) -> ScheduledFault:
        try:
            return ScheduledFault.model_validate(asked["fault"] | {"at_cycle": answer["at_cycle"]})
        except ValidationError as error:
            raise ConfigError(str(self._path), describe(error)) from error


def _append(path: Path, line: Line) -> None:
    """One write in append mode, so that lines of two processes do not mix; never behind a torn line."""
    with path.open("ab+", buffering=0) as file:
        end = file.seek(0, 2)
        file.seek(max(end - 1, 0))
        torn = file.read(1) not in (b"", b"\n")
        file.write((torn * "\n" + json.dumps(line) + "\n").encode())


def _read(path: Path, offset: int) -> tuple[list[Line], int]:
    """The whole lines from `offset` on that are JSON objects, and where the next begins."""
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ConfigError(str(path), [f"is longer than {FILE_BYTES_MAX} bytes; give the plant a new file"])
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    lines = [_parsed(line) for line in whole.splitlines()]
    return [line for line in lines if line], offset + len(whole)


def _parsed(line: bytes) -> Line:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
