"""Matplotlib without a screen."""

from pathlib import Path
from typing import Any

DOTS_PER_INCH = 120


def pyplot() -> Any:
    """`matplotlib.pyplot`, drawing into files."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save(figure: Any, path: Path) -> Path:
    """Write a figure and let go of it; the path."""
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot().close(figure)
    return path
