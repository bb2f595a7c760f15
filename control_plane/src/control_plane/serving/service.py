"""`RULInferenceService` over `grpc.aio`. Thin: read the window, have it run, tell, put on the record."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from math import nan
from typing import Any

import grpc
import numpy as np

from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.serving.caller import mode_of, require_own_site
from control_plane.serving.engine import Engine, Run
from control_plane.serving.published import NotServed, PublishedModels
from control_plane.serving.recording import record
from shared.contributions import explained
from shared.errors import Rejected, Retryable, Untrusted
from shared.interpret import Fields
from shared.onnx_model import OnnxModel
from shared.schemas import ComponentId, Contribution, Window, utc_now
from shared.wire import rul_pb2, rul_pb2_grpc

SERVICE = rul_pb2.DESCRIPTOR.services_by_name["RULInferenceService"].full_name
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # as shared.schemas.base.Name
COMPONENTS_MAX = 4096  # whose names are kept in mind as sound

Context = grpc.aio.ServicerContext[Any, Any]


class InferenceService(rul_pb2_grpc.RULInferenceServiceServicer):
    """Answers for one window at a time; without an audit log all the same, with no prediction id."""

    def __init__(self, models: PublishedModels, engine: Engine, audit: PredictionSpool | None = None) -> None:
        self._models, self._engine, self._audit = models, engine, audit

    async def PredictRUL(  # noqa: N802 - the name in the .proto
        self, request: rul_pb2.PredictRULRequest, context: Context
    ) -> rul_pb2.PredictRULResponse:
        """The status codes stand in the .proto."""
        asked = request.window
        try:
            require_own_site(asked.site_id)
            mode = mode_of(context.invocation_metadata())
            model = self._models.get(asked.component_type or asked.component)
            window = read_window(asked, model)
            run = await self._engine.run(model, window.values, context.time_remaining())
            found = said(run)
            if request.explain or found["is_anomaly"]:
                found = await self._engine.apart(_explained, model, window, found)
        except (Rejected, Retryable, Untrusted, ValueError) as error:
            await context.abort(status_of(error), str(error))
        answer = _told(found, model, run)
        if self._audit is not None:
            answer.prediction_id = record(self._audit, model, window, run, found, mode)
        return answer


def status_of(error: Exception) -> grpc.StatusCode:
    """What a caller is told where a call cannot be answered."""
    match error:
        case NotServed():
            return grpc.StatusCode.NOT_FOUND
        case Retryable():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case Untrusted():
            return grpc.StatusCode.PERMISSION_DENIED
        case ValueError():
            return grpc.StatusCode.INVALID_ARGUMENT
        case _:
            return grpc.StatusCode.INTERNAL


def read_window(asked: rul_pb2.SensorWindow, model: OnnxModel) -> Window:
    """The window that a request holds; ValueError names what does not fit."""
    spec = model.manifest.feature_spec
    expected = spec.window_cycles * len(spec.tags)
    if len(asked.features) != expected:
        raise ValueError(
            f"features: found {len(asked.features)} numbers; {spec.component_type} has {expected}: "
            f"{spec.window_cycles} cycles, oldest first, of {', '.join(spec.tags)}"
        )
    values = np.array(asked.features, dtype=np.float32).reshape(spec.window_cycles, len(spec.tags))
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = np.nan
        if not finite.any():
            raise ValueError("features: not one finite number")
    place = component(asked.site_id, asked.reactor_id, asked.component)
    return Window(place, spec.component_type, None, _when(asked.timestamp), spec.tags, values)


@lru_cache(maxsize=COMPONENTS_MAX)
def component(site_id: str, reactor_id: str, component: str, told_as: str = "") -> ComponentId:
    """Whose a window is; ValueError when a name is none, which bears `told_as` and its field's name."""
    place = ComponentId(site_id, reactor_id, component)
    for field, name in place._asdict().items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{told_as}{field}: found {name[:80]!r}; expected up to 64 letters, digits, '_', '.' and '-'"
            )
    return place


def _when(text: str) -> datetime:
    """The time of the newest row in UTC; now where none is given, and UTC where no offset is."""
    if not text:
        return utc_now()
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"timestamp: found {text[:80]!r}; expected RFC 3339, for example 2026-01-01T00:00:00Z"
        ) from None


def said(run: Run) -> Fields:
    """What the model says of a window, by the same rule as at the edge; Rejected where it says nothing."""
    return _fields(run.found)


def _explained(model: OnnxModel, window: Window, found: Fields) -> Fields:
    [more] = explained(model, window.values[np.newaxis], [found])
    return _fields(more)


def _fields(found: Fields | Rejected) -> Fields:
    if isinstance(found, Rejected):
        raise found
    return found


def _told(found: Fields, model: OnnxModel, run: Run) -> rul_pb2.PredictRULResponse:
    manifest = model.manifest
    return rul_pb2.PredictRULResponse(
        predicted_rul=_or_nan(found["rul"]),
        rul_low=_or_nan(found["rul_low"]),
        rul_high=_or_nan(found["rul_high"]),
        rul_state=found["rul_state"],
        anomaly_score=found["anomaly_score"],
        is_anomaly=found["is_anomaly"],
        model_version=manifest.folder,
        model_sha256=manifest.sha256,
        timestamp=utc_now().isoformat(),
        withheld_because=found["withheld_because"] or "",
        contributions=[_contribution(each) for each in found.get("contributions", [])],
        ood_score=found["ood_score"],
        anomaly_threshold=manifest.anomaly_threshold,
        ood_threshold=manifest.ood_threshold,
        inference_time_ms=run.took_ms,
        runtime=run.runtime,
        feature_spec_sha256=manifest.feature_spec_hash,
    )


def _contribution(found: Contribution) -> rul_pb2.Contribution:
    return rul_pb2.Contribution(**(found.model_dump() | {"value": _or_nan(found.value)}))


def _or_nan(number: float | None) -> float:
    return nan if number is None else number
