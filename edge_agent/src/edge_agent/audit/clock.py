"""Whether the operating system holds this machine's clock to a reference."""

import ctypes
from functools import cache
from typing import Final, Literal

TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES: Final = 512  # struct timex is 208 bytes on 64-bit Linux; all of it zero asks, changes nothing

ClockState = Literal["synchronised", "unsynchronised", "unknown"]


def clock_state() -> ClockState:
    """What the kernel says (Linux adjtimex); `unknown` where it cannot be asked."""
    try:
        state = _libc().adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return "unknown"
    if state < 0:
        return "unknown"
    return "unsynchronised" if state == TIME_ERROR else "synchronised"


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)  # opening it takes longer than the question
