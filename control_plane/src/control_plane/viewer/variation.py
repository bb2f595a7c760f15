"""A window as somebody would like it to have been. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from control_plane.console.wording import number, title, unit
from shared.reactor_config import Tag
from shared.schemas import Window

AS_LOADED = "As loaded"
NAMED_MAX = 2  # changes that a variation's name says one by one

Changes = Mapping[str, float | None]


class Variation(NamedTuple):
    """A window with a name; `changes` are newest values by tag, None for a sensor without a reading."""

    name: str
    window: Window
    changes: Changes


def varied(window: Window, changes: Changes, cycles: int) -> Window:
    """The window whose last `cycles` have each changed tag shifted until its newest good value is the given
    one, so that its noise stays; None takes the readings away. A tag without a number stands still at it."""
    values = window.values.copy()
    for tag, wanted in changes.items():
        column = values[:, window.tags.index(tag)]
        good = column[np.isfinite(column)]
        if wanted is None:
            column[-cycles:] = np.nan
        elif len(good):
            column[-cycles:] += np.float32(wanted - float(good[-1]))
        else:
            column[-cycles:] = wanted
    return Window(
        window.component, window.component_type, window.cycle, window.timestamp, window.tags, values
    )


def changed(before: Changes, after: Changes) -> Changes:
    """What of `after` is not what it was."""
    return {tag: value for tag, value in after.items() if value != before.get(tag)}


def name_of(changes: Changes, tags: Mapping[str, Tag]) -> str:
    """What was changed, in few words."""
    if not changes:
        return AS_LOADED
    if len(changes) > NAMED_MAX:
        return f"{len(changes)} tags changed"
    return ", ".join(_named(tag, value, tags.get(tag)) for tag, value in changes.items())


def tag_words(name: str, tag: Tag | None) -> str:
    """What is measured: in the words of the configuration, else by the tag's name."""
    return tag.description if tag is not None and tag.description else title(name)


def _named(name: str, value: float | None, tag: Tag | None) -> str:
    written = (
        "away"
        if value is None
        else f"{number(value).rstrip('0').rstrip('.')} {unit(tag.unit) if tag else ''}"
    )
    return f"{tag_words(name, tag)} {written}".strip()
