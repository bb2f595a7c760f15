"""`RULInferenceService` over `grpc.aio`."""

import asyncio
from datetime import datetime
from math import nan
from typing import Any

import grpc
import numpy as np

from control_plane.rpc.server import start_server
from control_plane.serving.published import PublishedModels
from shared.contributions import explained
from shared.errors import Rejected
from shared.interpret import interpret_many
from shared.onnx_model import OnnxModel
from shared.schemas import ComponentId, Contribution, Window, utc_now
from shared.wire import rul_pb2, rul_pb2_grpc

SERVICE = rul_pb2.DESCRIPTOR.services_by_name["RULInferenceService"].full_name
REQUEST_BYTES_MAX = 1024 * 1024  # a window of 1,000 cycles by 200 tags, and room
REFRESH_PERIOD_S = 2.0  # how soon a new publication is served

Context = grpc.aio.ServicerContext[Any, Any]


class InferenceService(rul_pb2_grpc.RULInferenceServiceServicer):
    """Answers for one window at a time."""

    def __init__(self, models: PublishedModels) -> None:
        self._models = models

    async def PredictRUL(  # noqa: N802 - the name in the .proto
        self, request: rul_pb2.PredictRULRequest, context: Context
    ) -> rul_pb2.PredictRULResponse:
        """INVALID_ARGUMENT names what is wrong with a window, NOT_FOUND the types that have a model."""
        asked = request.window
        try:
            model = self._models.get(asked.component_type or asked.component)
        except Rejected as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        try:
            window = read_window(asked, model)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            return answer(window, model)
        except Rejected as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
            raise  # abort raises; this tells mypy

    async def follow_publications(self) -> None:
        """Take up new releases, until cancelled."""
        while True:
            await asyncio.to_thread(self._models.refresh)
            await asyncio.sleep(REFRESH_PERIOD_S)


def read_window(asked: rul_pb2.SensorWindow, model: OnnxModel) -> Window:
    """The window that a request holds; ValueError names what does not fit."""
    spec = model.manifest.feature_spec
    expected = spec.window_cycles * len(spec.tags)
    if len(asked.features) != expected:
        raise ValueError(
            f"features: found {len(asked.features)} numbers; {spec.component_type} has {expected}: "
            f"{spec.window_cycles} cycles, oldest first, of {', '.join(spec.tags)}"
        )
    values = np.asarray(asked.features, dtype=np.float32).reshape(spec.window_cycles, len(spec.tags))
    values[~np.isfinite(values)] = np.nan
    if np.isnan(values).all():
        raise ValueError("features: not one finite number")
    when = datetime.fromisoformat(asked.timestamp) if asked.timestamp else utc_now()
    place = ComponentId(asked.site_id, asked.reactor_id, asked.component)
    return Window(place, spec.component_type, None, when, spec.tags, values)


def answer(window: Window, model: OnnxModel) -> rul_pb2.PredictRULResponse:
    """What the model says of the window, by the same rule as at the edge."""
    manifest = model.manifest
    values = window.values[np.newaxis]
    [found] = explained(model, values, interpret_many(model.run(values), manifest, values).each())
    if isinstance(found, Rejected):
        raise found
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
    )


def _contribution(found: Contribution) -> rul_pb2.Contribution:
    return rul_pb2.Contribution(**(found.model_dump() | {"value": _or_nan(found.value)}))


def _or_nan(number: float | None) -> float:
    return nan if number is None else number


async def start_inference_server(service: InferenceService, address: str) -> grpc.aio.Server:
    """Serve on loopback; ConfigError when the port is taken."""

    def add(server: grpc.aio.Server) -> None:
        rul_pb2_grpc.add_RULInferenceServiceServicer_to_server(service, server)

    return await start_server(address, "--inference-listen", SERVICE, add, REQUEST_BYTES_MAX)
