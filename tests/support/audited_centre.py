"""A centre's folder with one site's predictions on the record: lake, witness, tiles and keys."""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from control_plane.audit.witness_rounds import WitnessRounds
from control_plane.layout import Layout
from control_plane.sinks.arrival import Arrival
from control_plane.sinks.lake import LakeWriter
from edge_agent.audit import AuditLog
from shared.envelope import Envelope
from shared.log_key import LogKey
from shared.schemas import AuditEvent, PredictionRecord, Record
from shared.schemas.prediction import Contribution, ModelRef, RulState

SITE = "TX01"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def prediction(number: int) -> PredictionRecord:
    """A prediction such as a site makes, another for each number, with a window of 64 values."""
    rng = random.Random(number)
    window = rng.randbytes(256)
    because = Contribution(tag="flow_rate", of="rul", effect=-rng.random(), normal=97.5, unit="kg/s")
    return PredictionRecord(
        timestamp=BEGIN + timedelta(seconds=number),
        site_id=SITE,
        reactor_id="R1",
        component="coolant_pump",
        prediction_id=str(UUID(int=rng.getrandbits(128))),
        cycle=number,
        model=ModelRef(name="coolant_pump", version=1, sha256="a" * 64),
        feature_spec_hash="b" * 64,
        window_sha256=hashlib.sha256(window).hexdigest(),
        rul_state=RulState.OK,
        rul=rng.uniform(0, 125),
        rul_low=rng.uniform(0, 60),
        rul_high=rng.uniform(60, 125),
        anomaly_score=rng.random(),
        anomaly_threshold=3.25,
        is_anomaly=False,
        ood_score=rng.random(),
        ood_threshold=2.5,
        is_ood=False,
        raw={
            "rul": [rng.random()],
            "anomaly": [rng.random()],
            "contribution": [rng.random() for _ in range(8)],
        },
        contributions=[because],
        inference_time_ms=rng.random(),
        runtime="onnxruntime CPU",
        window=window,
    )


class AuditedCentre:
    """`layout`'s site goes on by `more`, and the witness looks after each."""

    def __init__(self, folder: Path, model: ModelRef | None = None) -> None:
        self._model = model
        self.layout = Layout(folder)
        self.log = AuditLog(SITE, LogKey.load_or_create(folder / "site.pem"))
        self.lake = LakeWriter(self.layout.lake)
        self.lake.create()
        self.layout.store().seen(SITE, str(self.log.verifier), "0.1.0", "s1", [])
        self._seq = 0

    def more(self, predictions: int) -> None:
        """Predictions, their entries, and a checkpoint over all so far."""
        records: list[Record] = []
        for number in range(self.log.size, self.log.size + predictions):
            made = prediction(number)
            made = made.model_copy(update={"model": self._model or made.model})
            entry = self.log.append(AuditEvent.PREDICTION, made.key, made.timestamp, prediction=made)
            records += [made, entry]
        records.append(self.log.checkpoint(BEGIN))
        self.lake.accept([self._arrival(record) for record in records])

    def look(self) -> WitnessRounds:
        """A witness that has looked once at every log."""
        rounds = WitnessRounds(self.layout, self.layout.store())
        for log in rounds.logs():
            rounds.look(log)
        return rounds

    def _arrival(self, record: Record) -> Arrival:
        self._seq += 1
        return Arrival(record, record.outgoing().body, Envelope(record.SCHEMA, SITE, "s1", self._seq, "c"))
