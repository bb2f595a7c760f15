"""Seconds -> RFC 3339 texts, many at a time: NumPy's own conversion would cost more than the physics."""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
DATE_CHARS, TIME_CHARS = 10, 10  # "2026-01-01", "T00:00:00Z"
KEPT_MAX = 100_000  # texts, 8 MB: those last made, because a fleet's components share their clock


def rfc3339(start_s: int, first: int, count: int) -> NDArray[np.str_]:
    """UTC texts of the seconds `start_s + first`, ... (Unix time), shape `(count,)`; years 0 to 9999.

    Not to be written to: others may hold the same array.
    """
    return (_kept if count <= KEPT_MAX else _made)(start_s + first, count)


def _made(first_s: int, count: int) -> NDArray[np.str_]:
    seconds = np.arange(first_s, first_s + count)
    texts = np.empty(count, dtype=f"U{DATE_CHARS + TIME_CHARS}")
    characters = texts.view(np.uint32).reshape(count, DATE_CHARS + TIME_CHARS)
    for day in range(first_s // DAY_S, (first_s + count - 1) // DAY_S + 1):
        begin, end = np.searchsorted(seconds, (day * DAY_S, (day + 1) * DAY_S))
        date = np.array([day], dtype="datetime64[D]").astype(f"U{DATE_CHARS}")
        characters[begin:end, :DATE_CHARS] = date.view(np.uint32)
        characters[begin:end, DATE_CHARS:] = _times_of_day()[seconds[begin] - day * DAY_S :][: end - begin]
    texts.flags.writeable = False
    return texts


_kept = lru_cache(maxsize=1)(_made)


@cache
def _times_of_day() -> NDArray[np.uint32]:
    """The characters of every second of a day, shape `(86400, 10)`: 3.5 MB, made once."""
    texts = np.datetime_as_string(np.arange(DAY_S).astype("datetime64[s]"), unit="s")
    characters = texts.view(np.uint32).reshape(DAY_S, -1)[:, DATE_CHARS : DATE_CHARS + TIME_CHARS - 1]
    return np.column_stack([characters, np.full(DAY_S, ord("Z"), dtype=np.uint32)])
