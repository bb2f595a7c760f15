"""How often Python looks for cycles of garbage."""

import gc

NEW_OBJECTS = 50_000  # between two looks; Python's 700 costs a forwarded row three times its own work


def seldom() -> None:
    """From the start of a program: an import of torch makes millions of objects, and none is garbage."""
    gc.set_threshold(NEW_OBJECTS, 10, 10)


def settle() -> None:
    """Once started: what was made so far stays, and new objects are looked at seldom.

    Rows and readings go by reference counts alone; cycles come from tracebacks and closed connections.
    """
    gc.collect()
    gc.freeze()
    seldom()
