"""Fills in what a `reactor_config.yaml` may leave out: types, units, tags, registers, thresholds.

Enters: a parsed document. Leaves: the same document, complete, and what was wrong with it so far.
"""

from functools import cache
from importlib import resources
from typing import Any

import yaml

# libyaml's, in every wheel of PyYAML: eight times as fast as the one in Python, at each start of anything.
FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FIRST_TAG_ADDRESS = 2  # addresses 0 and 1 hold the cycle counter
REACTOR_TYPES = ("forced_circulation", "natural_circulation", "test_rig")
CYCLE_REGISTER = {"address": 0, "type": "uint32"}
EXAMPLE = "for example TX01: {R1: {coolant_pump: {}}}"


@cache
def builtin_types() -> dict[str, Any]:
    """The component types that come with the product; not to be changed."""
    text = resources.files("shared").joinpath("component_types.yaml").read_text()
    types: dict[str, Any] = yaml.load(text, Loader=FAST_LOADER)  # noqa: S506 - a SafeLoader
    return types


def with_defaults(document: Any) -> tuple[Any, list[str]]:
    """The document with every default in its place, and the problems met on the way."""
    if not isinstance(document, dict) or not document:
        return {}, [f"found {document!r}; expected a mapping of sites, {EXAMPLE}"]
    sites = dict(document)
    types = builtin_types() | (sites.pop("component_types", None) or {})
    problems = [] if sites else [f"names no site; {EXAMPLE}"]
    return {site: _site(section, types, str(site), problems) for site, section in sites.items()}, problems


def _site(section: Any, types: dict[str, Any], path: str, problems: list[str]) -> Any:
    if not isinstance(section, dict):
        return section  # the schema says what is wrong with it
    unit, site = 1, {}
    for key, reactor in section.items():
        if key == "plant" or not isinstance(reactor, dict):
            site[key] = reactor
            continue
        site[key] = {}
        for name, part in reactor.items():
            if name != "reactor_type":
                part = _component(part, types, (path, str(key), str(name)), unit, problems)
                part = _of_reactor(part, reactor)
                unit += 1
            site[key][name] = part
    return site


def _of_reactor(part: Any, reactor: dict[str, Any]) -> Any:
    """A component knows its reactor's type; one that is none is told once, of the reactor."""
    kind = reactor.get("reactor_type")
    return part | {"reactor_type": kind} if isinstance(part, dict) and kind in REACTOR_TYPES else part


def _component(
    part: Any, types: dict[str, Any], path: tuple[str, ...], unit: int, problems: list[str]
) -> Any:
    part = {} if part is None else part
    if not isinstance(part, dict):
        return part
    kind = part.get("type", path[-1])
    if kind not in types:
        known = ", ".join(types)
        problems.append(
            f"{'.'.join(path)}: found component type {kind!r}; allowed: {known} "
            "(or declare it under component_types)"
        )
        kind, part = next(iter(types)), {}  # checked no further: its fields cannot be judged
    common = types[kind]
    merged = {
        "type": kind,
        "unit": unit,
        "cycle_register": common.get("cycle_register", CYCLE_REGISTER),
    } | part
    merged["tags"] = _tags(part.get("tags", common.get("tags")))
    merged["operating"] = part.get("operating", _of_tags(common.get("operating", {}), merged["tags"]))
    if isinstance(part.get("thresholds", {}), dict):
        merged["thresholds"] = common.get("thresholds", {}) | part.get("thresholds", {})
    merged["alarms"] = _alarms(common.get("alarms", {}), part.get("alarms", {}))
    return merged


def _alarms(common: Any, own: Any) -> Any:
    """A component changes single settings of single kinds; the others are its type's."""
    if not (isinstance(common, dict) and isinstance(own, dict)):
        return own
    kinds = common | own
    for kind, settings in kinds.items():
        if isinstance(settings, dict) and isinstance(common.get(kind), dict):
            kinds[kind] = common[kind] | settings
    return kinds


def _of_tags(common: Any, tags: Any) -> Any:
    """What the type says of tags that the component has: it may have tags of its own."""
    if not (isinstance(common, dict) and isinstance(tags, dict)):
        return common
    return {tag: least for tag, least in common.items() if tag in tags}


def _tags(tags: Any) -> Any:
    """Give each tag without a register the next two addresses, in the order written."""
    if not isinstance(tags, dict):
        return tags
    placed = {}
    for index, (name, tag) in enumerate(tags.items()):
        if isinstance(tag, dict) and "register" not in tag:
            tag = tag | {"register": {"address": FIRST_TAG_ADDRESS + 2 * index}}
        placed[name] = tag
    return placed
