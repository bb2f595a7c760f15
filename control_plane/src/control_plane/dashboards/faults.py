"""Injected faults out of a simulated plant's ledger, to be marked on the dashboards."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from shared.errors import ConfigError
from shared.schemas import ComponentId

SOUND = None


def fault_rows(entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each beginning of a fault, as `fault_line` takes it; an entry a component and cycle, in order.

    KeyError, ValueError for what is no entry of a ledger.
    """
    before: dict[str, str | None] = {}
    for entry in entries:
        key, fault = entry["key"], entry["labels"].get("fault") or SOUND
        if fault != before.get(key) and fault is not SOUND:
            place = ComponentId.from_key(key)
            when = datetime.fromisoformat(entry["time"])
            cycle = entry["cycle"]  # also tells apart two of one moment
            yield {**place._asdict(), "timestamp": when, "seq": cycle, "cycle": cycle, "fault": fault}
        before[key] = fault


def read_ledger(lines: Iterable[str], source: str) -> Iterator[dict[str, Any]]:
    """The entries of a ledger's lines; a torn last line is left out, any other that is none is refused."""
    torn: int | None = None
    for number, line in enumerate(lines, 1):
        if torn is not None:
            raise ConfigError(
                source, [f"line {torn} is no entry of a plant's ledger; give its --ledger file"]
            )
        try:
            entry = json.loads(line)
            _ = entry["key"], entry["cycle"], entry["time"], entry["labels"].get("fault")
        except (ValueError, KeyError, TypeError, AttributeError):
            torn = number
            continue
        yield entry
