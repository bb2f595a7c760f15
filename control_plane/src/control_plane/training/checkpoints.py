"""A training that was killed goes on where it stopped, and ends with the same weights."""

import os
from pathlib import Path
from typing import Any

import torch

from shared.errors import ConfigError

State = dict[str, Any]


class Checkpoint:
    """One file, replaced as a whole after each epoch; None as path keeps nothing.

    `fingerprint` says which settings and data the training is of; a file of another training is refused.
    """

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        """ConfigError when the file is another training's, or damaged."""
        self._path = path
        self._fingerprint = fingerprint
        self._parts = {} if path is None or not path.exists() else self._read(path)

    def load(self, part: str) -> State:
        """What was last saved of one network; empty where nothing was."""
        return self._parts.get(part, {})

    def save(self, part: str, state: State) -> None:
        """Replace the file, so that a kill at any moment leaves the old or the new one."""
        if self._path is None:
            return
        self._parts[part] = state
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("wb") as file:
            torch.save({"fingerprint": self._fingerprint, "parts": self._parts}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)

    def _read(self, path: Path) -> dict[str, State]:
        try:
            found = torch.load(path, weights_only=True)
            same, parts = found["fingerprint"] == self._fingerprint, dict(found["parts"])
        except Exception as error:  # torch raises what its unpickler raises, a class a damage
            raise ConfigError(str(path), ["is no checkpoint; delete it to start anew"]) from error
        if not same:
            raise ConfigError(
                str(path), ["is of other settings or data; delete it to start anew, or name another file"]
            )
        return parts
