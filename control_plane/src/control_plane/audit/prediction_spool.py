"""Predictions on their way to the record of the centre's inference: one append to a file each (see `spool`).

Nothing here raises to the caller: what could not be written is counted, and that is itself for the record.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import methodcaller
from pathlib import Path
from random import Random
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from control_plane.audit.spool import Spool
from control_plane.audit.troubles import Trouble, Troubles

_numbers = methodcaller("tolist")  # of numpy; what else JSON does not know is counted as lost
_encode = msgspec.json.Encoder(enc_hook=_numbers).encode  # NaN becomes null
_CHANCE = Random()  # noqa: S311 - ids are unique, no secrets; seeded by the system, asked no more per call

Features = Sequence[float] | NDArray[np.float32]


class PredictionSpool:
    """Takes predictions for the record in `folder`; a context manager. Who commits them is another process,
    which `cut` hands them to."""

    def __init__(self, folder: Path) -> None:
        self._spool, self._troubles = Spool.of(folder), Troubles()

    def __enter__(self) -> Self:
        self._spool.join()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failed(self) -> int:
        """Calls since the start that could not be put on the record."""
        return self._troubles.failed

    def cut(self) -> list[Trouble]:
        """Hand over what was logged, and what went wrong: that is for the other process to `tell`."""
        try:
            self._spool.cut()
        except OSError as error:
            self._troubles.note("late", error)
        troubles = self._troubles.now()
        self._troubles.settle(troubles)
        return troubles

    def log_prediction(
        self,
        site_id: str,
        reactor_id: str,
        component: str,
        model_version: str,
        input_features: Features,
        predicted_rul: float | None,
        timestamp: str | datetime,
        *,
        component_type: str = "",
        model_name: str = "",
        model_sha256: str = "",
        mode: str = "active",
        feature_spec_sha256: str = "",
        rul_low: float | None = None,
        rul_high: float | None = None,
        rul_state: str = "",
        raw: Mapping[str, Sequence[float]] | None = None,
        flags: Sequence[str] = (),
        inference_time_ms: float | None = None,
        runtime: str = "",
    ) -> str:
        """Put an answer on the record; its prediction id. Never raises; survives `kill -9` of the caller.

        `input_features` is the raw window, row by row, float32; cycles for all RULs, not a number where
        there is none; `timestamp` RFC 3339. `raw` holds every output of the model for a replay.
        """
        now = time.time()
        prediction_id = _new_id(now)
        try:
            when = timestamp if isinstance(timestamp, str) else timestamp.isoformat()
            head = (
                prediction_id, now, when, site_id, reactor_id, component, component_type, model_name,
                model_version, model_sha256, mode, feature_spec_sha256, predicted_rul, rul_low, rul_high,
                rul_state, raw or {}, tuple(flags), inference_time_ms, runtime,
            )  # fmt: skip
            window = np.asarray(input_features, dtype="<f4").tobytes()
            self._spool.append(_encoded(head) + b"\n" + window)
        except Exception as error:  # the caller's answer is not lost with its record
            self._troubles.note("lost", error)
        return prediction_id

    def close(self) -> None:
        """Hand over the rest."""
        self._spool.close()


def _encoded(head: tuple[object, ...]) -> bytes:
    try:
        return _encode(head)
    except UnicodeEncodeError:  # half a pair of surrogates in somebody's text
        return json.dumps(head, default=_numbers).encode()


def _new_id(now_s: float) -> str:
    """A UUID of version 7 (RFC 9562): ids that grow with time keep the index of the log small to write."""
    drawn = _CHANCE.getrandbits(74)
    number = int(now_s * 1000) << 80 | 0x7 << 76 | drawn >> 62 << 64 | 0b10 << 62 | drawn & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
