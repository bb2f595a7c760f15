"""The few shapes that every page is made of. A value that has not changed sends nothing to the browser."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from control_plane.api.models import Level
from control_plane.console import wording


class Text(TextElement):
    """A piece of text in a tag of its own."""

    def __init__(self, text: str = "", classes: str = "", tag: str = "div") -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)

    def show(self, text: str) -> None:
        """Replace the text."""
        self.text = text


def box(classes: str = "", tag: str = "div") -> Element:
    """An element to put others into."""
    return ui.element(tag).classes(classes)


def attribute(element: Element, name: str, value: Any) -> None:
    """Set an attribute (None removes it) where it differs."""
    if element.props.get(name) != value:
        element.props.set_optional(name, value)


def visible(element: Element, yes: bool) -> None:
    """Show or hide."""
    attribute(element, "hidden", None if yes else True)


class Chip:
    """A component's level: a shape and a word, the colour only repeats them."""

    def __init__(self) -> None:
        with box("chip") as self._box:
            box("shape", "span").props("aria-hidden=true")
            self._word = Text("", tag="span")

    def show(self, level: Level) -> None:
        """Say the level."""
        attribute(self._box, "data-level", level.value)
        self._word.show(wording.LEVELS[level])


class Bar:
    """A horizontal scale from 0 to 1 with a span, a pointer, and marks where limits lie."""

    def __init__(self, marks: int) -> None:
        with box("bar").props("aria-hidden=true"):
            self._span = box("bar-span")
            self._marks = [box(f"bar-mark bar-mark-{index}") for index in range(marks)]
            self._pointer = box("bar-pointer")

    def show(self, pointer: float | None, span: tuple[float, float] | None, marks: list[float]) -> None:
        """Place everything; what is None is hidden, what is off the scale stands at its end."""
        visible(self._pointer, pointer is not None)
        visible(self._span, span is not None)
        _place(self._pointer, f"left:{_percent(pointer or 0.0)}")
        low, high = span or (0.0, 0.0)
        _place(self._span, f"left:{_percent(low)};right:{_percent(1 - high)}")
        for element, mark in zip(self._marks, marks, strict=True):
            _place(element, f"left:{_percent(mark)}")


def _percent(share: float) -> str:
    return f"{min(1.0, max(0.0, share)) * 100:.1f}%"


def _place(element: Element, style: str) -> None:
    element.style(replace=style)


def scrolled(name: str) -> Element:
    """What is wider than a small screen moves sideways in itself, by keys too."""
    return box("ledger-scroll").props(f'tabindex=0 role="region" aria-label="{name}"')


def facts_table(rows: Sequence[tuple[str, str]], name: str) -> None:
    """What is called what, a line each."""
    with (
        scrolled(name),
        box("ledger facts-table", "table").props(f'data-testid="{name}"'),
        box(tag="tbody"),
    ):
        for label, value in rows:
            with box(tag="tr"):
                Text(label, tag="th").props("scope=row")
                Text(value, tag="td")


def listing(
    columns: Sequence[str], rows: Sequence[Sequence[str]], name: str, links: Sequence[str] = ()
) -> None:
    """Rows under their columns; with `links` a row's first cell leads there."""
    with scrolled(name), box("ledger facts-table", "table").props(f'data-testid="{name}"'):
        with box(tag="thead"), box(tag="tr"):
            for column in columns:
                Text(column, tag="th").props("scope=col")
        with box(tag="tbody"):
            for number, (first, *rest) in enumerate(rows):
                with box(tag="tr"):
                    with box(tag="th").props("scope=row"):
                        _linked(first, links[number] if links else "")
                    for value in rest:
                        Text(value, tag="td")


def _linked(text: str, target: str) -> None:
    if not target:
        Text(text, tag="span")
        return
    with box("ledger-link", "a") as link:
        attribute(link, "href", target)
        Text(text, tag="span")
