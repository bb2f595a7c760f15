"""A prediction as it is on a record, whichever model's it was: what a replay needs of it."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from control_plane.audit.inference_entry import InferenceEntry
from control_plane.audit.query import Question, ask
from control_plane.layout import Layout
from control_plane.sinks.lake import LakeReader
from shared.errors import Rejected, Retryable
from shared.schemas import AuditEntry

IDS_PER_QUERY = 500  # windows of some kilobytes each are in memory at a time
SITES_SQL = """
SELECT a.body, p."window" FROM
    (SELECT body, TRY_CAST(body AS JSON)->'prediction'->>'prediction_id' AS id
     FROM audit WHERE event = 'prediction') a
LEFT JOIN predictions p ON p.prediction_id = a.id WHERE list_contains($ids, a.id)
"""


class Recorded(NamedTuple):
    """`raw` is every output of the model; `window` the input beside the record, None where it is not here."""

    prediction_id: str
    model: str
    model_sha256: str
    raw: dict[str, list[float]]
    window_sha256: str
    window: bytes | None
    runtime: str


def find(layout: Layout, ids: Sequence[str]) -> Iterator[Recorded]:
    """Those of the predictions that are on a record; each site's, then the centre's own."""
    for first in range(0, len(ids), IDS_PER_QUERY):
        some = list(ids[first : first + IDS_PER_QUERY])
        try:
            rows = LakeReader(layout.lake).rows(SITES_SQL, ids=some)
        except Retryable:  # a centre that infers need not have a lake
            rows = []
        for row in rows:
            yield of_site(row["body"].encode(), row["window"])
        if layout.has_inference_log:
            log = layout.inference_log()
            yield from (of_inference(*found) for each in some if (found := log.find(each)))


def draw(layout: Layout, sample: int, seed: int, site: str | None = None) -> list[str]:
    """The ids of `sample` predictions (or all, if fewer), the same for the same record and seed."""
    rows = ask(layout, Question(event="prediction", site=site))
    ids = sorted(row["prediction_id"] for row in rows)
    return random.Random(seed).sample(ids, min(sample, len(ids)))  # noqa: S311 - to be repeated, not secret


def of_site(leaf: bytes, window: bytes | None) -> Recorded:
    """From a site's audit entry; Rejected when it holds no prediction."""
    told = AuditEntry.model_validate_json(leaf).prediction
    if told is None:
        raise Rejected("the audit entry holds no prediction")
    return Recorded(
        told.prediction_id,
        f"{told.model.name}/{told.model.version}",
        told.model.sha256,
        told.raw,
        told.window_sha256,
        window,
        told.runtime,
    )


def of_inference(entry: InferenceEntry, window: bytes) -> Recorded:
    """From an entry of the centre's inference; Rejected when it holds no prediction."""
    told = entry.prediction
    if told is None:
        raise Rejected(f"entry {entry.index} of the inference log holds no prediction")
    raw = {name: [float("nan") if x is None else x for x in found] for name, found in told.raw.items()}
    model = f"{told.model_name}/{told.model_version}"
    return Recorded(
        told.prediction_id, model, told.model_sha256, raw, told.window_sha256, window, told.runtime
    )
