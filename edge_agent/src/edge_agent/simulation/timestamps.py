"""Seconds -> RFC 3339 texts, many at a time: NumPy's own conversion would cost more than the physics."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
DATE_CHARS, TIME_CHARS = 10, 10  # "2026-01-01", "T00:00:00Z"


def rfc3339(start_s: int, first: int, count: int) -> NDArray[np.str_]:
    """UTC texts of the seconds `start_s + first`, ... (Unix time), shape `(count,)`; years 0 to 9999."""
    seconds = np.arange(start_s + first, start_s + first + count)
    texts = np.empty(count, dtype=f"U{DATE_CHARS + TIME_CHARS}")
    characters = texts.view(np.uint32).reshape(count, DATE_CHARS + TIME_CHARS)
    day_of = seconds // DAY_S
    characters[:, DATE_CHARS:] = _times_of_day()[seconds - day_of * DAY_S]
    days, first_of_day = np.unique(day_of, return_index=True)
    for day, begin, end in zip(days, first_of_day, [*first_of_day[1:], count], strict=True):
        date = np.array([day], dtype="datetime64[D]").astype(f"U{DATE_CHARS}")
        characters[begin:end, :DATE_CHARS] = date.view(np.uint32)
    return texts


@cache
def _times_of_day() -> NDArray[np.uint32]:
    """The characters of every second of a day, shape `(86400, 10)`: 3.5 MB, made once."""
    texts = np.datetime_as_string(np.arange(DAY_S).astype("datetime64[s]"), unit="s")
    characters = texts.view(np.uint32).reshape(DAY_S, -1)[:, DATE_CHARS : DATE_CHARS + TIME_CHARS - 1]
    return np.column_stack([characters, np.full(DAY_S, ord("Z"), dtype=np.uint32)])
