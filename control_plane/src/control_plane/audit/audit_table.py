"""`audit_log`: one table of what the sites' models and the centre's inference predicted, and what else
happened (PRD 7.1).

The sites' entries are read from the lake. Those of the inference log lie beside it as Parquet
(`audit_log.parquet`, a folder of parts): made of the log, and made again from it when it is missing. A part
of PART_ENTRIES is final, the last one is written again. Any Parquet reader takes the folder as one table.
"""

import os
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from control_plane.audit.inference_entry import InferenceEntry
from control_plane.audit.inference_log import INFERENCE_LOG, InferenceLog

PART_ENTRIES = 50_000  # about 25 MB of entries in memory while a part is written

_TEXT, _REAL, _TIME = pa.string(), pa.float64(), pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("log", _TEXT),
        ("index", pa.int64()),
        ("timestamp", _TIME),
        ("event", _TEXT),
        ("subject", _TEXT),
        ("prediction_id", _TEXT),
        ("site_id", _TEXT),
        ("reactor_id", _TEXT),
        ("component", _TEXT),
        ("model_name", _TEXT),
        ("model_version", _TEXT),
        ("model_sha256", _TEXT),
        ("mode", _TEXT),
        ("rul_state", _TEXT),
        ("predicted_rul", _REAL),
        ("rul_low", _REAL),
        ("rul_high", _REAL),
        ("flags", pa.list_(_TEXT)),
        ("inference_time_ms", _REAL),
        ("window_sha256", _TEXT),
        ("body", _TEXT),  # the exact leaf
    ]
)

# The same columns of the entries that arrived from sites.
SITES_SQL = """
SELECT site_id AS log, "index", timestamp, event, subject,
    p->>'prediction_id' AS prediction_id, site_id,
    coalesce(p->>'reactor_id', split_part(subject, '/', 2)) AS reactor_id,
    coalesce(p->>'component', split_part(subject, '/', 3)) AS component,
    p->'model'->>'name' AS model_name, p->'model'->>'version' AS model_version,
    p->'model'->>'sha256' AS model_sha256, p->'model'->>'mode' AS mode, p->>'rul_state' AS rul_state,
    (p->'rul')::DOUBLE AS predicted_rul, (p->'rul_low')::DOUBLE AS rul_low,
    (p->'rul_high')::DOUBLE AS rul_high,
    list_filter([
        CASE WHEN (p->'is_anomaly')::BOOLEAN THEN 'anomaly' END,
        CASE WHEN (p->'is_ood')::BOOLEAN THEN 'out_of_distribution' END,
        CASE WHEN p->>'withheld_because' <> 'out_of_distribution' THEN p->>'withheld_because' END
    ], lambda flag: flag IS NOT NULL) AS flags,
    (p->'inference_time_ms')::DOUBLE AS inference_time_ms, p->>'window_sha256' AS window_sha256, body
FROM (SELECT *, TRY_CAST(body AS JSON)->'prediction' AS p FROM audit)
"""


def refresh_parts(log: InferenceLog, folder: Path) -> list[Path]:
    """Bring the Parquet parts in `folder` up to the log; all of them, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = sorted(folder.glob("part-*.parquet"))
    first = PART_ENTRIES * max(len(parts) - 1, 0)
    entries = log.entries(first)
    while chunk := [_row(entry) for entry in islice(entries, PART_ENTRIES)]:
        _write(folder / f"part-{first:012d}.parquet", chunk)
        first += len(chunk)
    return sorted(folder.glob("part-*.parquet"))


def _row(entry: InferenceEntry) -> dict[str, Any]:
    told = entry.prediction
    columns = told.model_dump(exclude={"raw"}) if told else {"flags": []}
    subject = "/".join((told.site_id, told.reactor_id, told.component)) if told else INFERENCE_LOG
    return columns | {
        "log": INFERENCE_LOG,
        "index": entry.index,
        "timestamp": entry.timestamp,
        "event": entry.event.value,
        "subject": subject,
        "body": entry.leaf().decode(),
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The whole part or the one before: a query may read while another brings the table up to date."""
    temporary = path.with_suffix(f".{os.getpid()}.new")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
    temporary.replace(path)
