"""The last cycles of one component, as numbers."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from shared.schemas.base import ComponentId


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The newest `W` cycles of `T` tags, oldest first; `values` is float32 `(W, T)`, NaN where bad.

    Tags stand in the order of the feature spec. Rows before the first reading are all NaN (padding).
    """

    component: ComponentId
    component_type: str
    cycle: int | None
    timestamp: datetime
    tags: tuple[str, ...]
    values: NDArray[np.float32]

    def blob(self) -> bytes:
        """The values, row by row, as little-endian float32: what the digest is taken over."""
        return np.ascontiguousarray(self.values, dtype="<f4").tobytes()

    def sha256(self) -> str:
        return hashlib.sha256(self.blob()).hexdigest()


def values_from_blob(blob: bytes, tags: int) -> NDArray[np.float32]:
    """The `(W, tags)` values of `Window.blob`; ValueError when the length does not fit."""
    return np.frombuffer(blob, dtype="<f4").reshape(-1, tags).astype(np.float32)
