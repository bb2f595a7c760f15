"""Readings to aligned windows. Pure: no clock, no I/O.

Enters: the readings of one component, in order. Leaves: the window that ends with the newest.
Never: a number that was not read in its own cycle.
"""

from shared.window_buffer import MIN_CYCLES, WindowBuffer

__all__ = ["MIN_CYCLES", "WindowBuffer"]
