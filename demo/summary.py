"""Counts, from what the parts stored, whether the demo's claims held: outboxes, lake, logs, ledgers.

Nothing here is a counter that the demo kept while it ran.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from control_plane.sinks.lake import LakeReader
from demo.settings import Demo
from edge_agent.outbox.reader import OutboxReader
from shared.schemas import Quality

Row = dict[str, Any]


def outbox_rows(folder: Path) -> Iterator[tuple[str, int, str, bytes]]:
    """`(store_id, seq, schema, body)` of every row that a site's outbox committed and still holds."""
    with OutboxReader(folder / "outbox.db") as outbox:
        for seen in outbox.rows(acknowledged=True):
            row = seen.row
            yield row.store_id, row.number, row.record.schema, row.record.body


def ledger(path: Path) -> dict[tuple[str, int], Row]:
    """What a plant served, by component key and cycle; a torn last line is left out."""
    served = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        served[row["key"], row["cycle"]] = row
    return served


def count_records(demo: Demo, sites: list[str]) -> Row:
    """What was committed, what arrived, and how the two differ."""
    lake = LakeReader(demo.centre.lake)
    committed: set[tuple[str, int]] = set()
    polled = 0
    for site in sites:
        for store_id, seq, schema, body in outbox_rows(demo.site(site)):
            committed.add((store_id, seq))
            if schema == "telemetry/1":
                row = json.loads(body)
                polled += len(row["metrics"]) + len(row.get("quality", ()))
    arrived = [
        (row["store_id"], row["seq"])
        for table in ("telemetry", "predictions", "alerts", "audit", "checkpoints", "site_status", "gaps")
        for row in lake.rows(f"SELECT store_id, seq FROM {table}")  # noqa: S608 - our own names
    ]
    return {
        "readings_polled": polled,
        "records_committed": len(committed),
        "records_in_lake": len(set(arrived)),
        "lost": len(committed - set(arrived)),
        "duplicates": len(arrived) - len(set(arrived)),
        "unknown": len(set(arrived) - committed),
    }


def misattributed(demo: Demo, sites: list[str], lake: LakeReader) -> tuple[int, int]:
    """Numbers in the lake that are not, bit for bit, what the plant served for that tag and cycle.

    Returns `(wrong, compared)`.
    """
    served = {key: row["values"] for site in sites for key, row in ledger(demo.ledger(site)).items()}
    wrong = compared = 0
    for row in lake.rows("SELECT site_id, reactor_id, component, cycle, metrics, quality FROM telemetry"):
        truth = served.get((f"{row['site_id']}/{row['reactor_id']}/{row['component']}", row["cycle"]), {})
        for tag, value in dict(row["metrics"]).items():
            compared += 1
            wrong += not (tag in truth and truth[tag] is not None and bits(value) == bits(truth[tag]))
    return wrong, compared


def bits(value: float) -> bytes:
    """The number as 64 bits: equal means the same number, not a similar one."""
    return struct.pack("<d", value)


def fault_found(demo: Demo, sites: list[str], lake: LakeReader) -> Row:
    """The injected fault as the plant labelled it, and the first alert that it led to."""
    faults = [
        row | {"fault": row["labels"]["fault"]}
        for site in sites
        for row in ledger(demo.ledger(site)).values()
        if row["labels"].get("fault")
    ]
    first = min(faults, key=lambda row: row["cycle"], default=None)
    alerts = lake.rows("SELECT * FROM alerts WHERE state = 'raised' ORDER BY timestamp")
    answer: Row = {"raised": len(alerts), "fault": None}
    if first is None:
        return answer
    mine = [
        a for a in alerts
        if f"{a['site_id']}/{a['reactor_id']}/{a['component']}" == first["key"]
        and a["cycle"] is not None and a["cycle"] >= first["cycle"]
    ]  # fmt: skip
    found = mine[0] if mine else None
    answer["fault"] = {
        "component": first["key"],
        "type": first["fault"],
        "at_cycle": first["cycle"],
        "alert": found["kind"] if found else None,
        "detected_at_cycle": found["cycle"] if found else None,
        "delay_cycles": found["cycle"] - first["cycle"] if found else None,
    }
    return answer


def bad_values(lake: LakeReader) -> dict[str, int]:
    """How many values had which quality, over the whole lake."""
    rows = lake.rows(
        "SELECT q AS quality, count(*) AS n FROM "
        "(SELECT unnest(map_values(quality)) AS q FROM telemetry) GROUP BY q ORDER BY q"
    )
    return {Quality(row["quality"]).value: row["n"] for row in rows}
