"""`inference.GRPCInferenceService`: the Open Inference Protocol v2 beside our own service, on its port.

Any client of KServe, MLServer, OpenVINO or Triton may ask so. A model is asked for by its release's name,
and by its version or none (the newest published). See `docs/open_inference.md`.
"""

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from control_plane.serving.oip_tensors import answer, metadata, read_windows, requested
from shared.errors import Rejected
from shared.interpret import interpret_many
from shared.onnx_model import OnnxModel
from shared.wire import open_inference_pb2 as oip
from shared.wire import open_inference_pb2_grpc

SERVICE = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

Floats = NDArray[np.float32]
Context = grpc.aio.ServicerContext[Any, Any]


class Models(Protocol):
    """The published models."""

    def named(self, name: str, version: int | None) -> OnnxModel:
        """The release of this name; Rejected when there is none."""
        ...


class Engine(Protocol):
    """What runs a model on one raw window `(cycles, tags)`."""

    async def infer(self, model: OnnxModel, values: Floats) -> Mapping[str, Floats]: ...


class OpenInferenceService(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """NOT_FOUND names the releases there are; INVALID_ARGUMENT the tensor, its shape or its datatype."""

    def __init__(self, models: Models, engine: Engine) -> None:
        self._models, self._engine = models, engine

    async def ServerLive(  # noqa: N802 - the names in the .proto, here and below
        self, _request: oip.ServerLiveRequest, _context: Context
    ) -> oip.ServerLiveResponse:
        """It answers."""
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, _request: oip.ServerReadyRequest, _context: Context
    ) -> oip.ServerReadyResponse:
        """What is published is loaded."""
        return oip.ServerReadyResponse(ready=True)

    async def ServerMetadata(  # noqa: N802
        self, _request: oip.ServerMetadataRequest, _context: Context
    ) -> oip.ServerMetadataResponse:
        """No extensions."""
        return oip.ServerMetadataResponse(name="pm-stack-smr", version=version("pm-stack-smr-control-plane"))

    async def ModelReady(  # noqa: N802
        self, request: oip.ModelReadyRequest, _context: Context
    ) -> oip.ModelReadyResponse:
        """Whether such a release is served."""
        try:
            self._model(request.name, request.version)
        except Rejected:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=True)

    async def ModelMetadata(  # noqa: N802
        self, request: oip.ModelMetadataRequest, context: Context
    ) -> oip.ModelMetadataResponse:
        """Its tensors."""
        return metadata((await self._found(request.name, request.version, context)).manifest)

    async def ModelInfer(  # noqa: N802
        self, request: oip.ModelInferRequest, context: Context
    ) -> oip.ModelInferResponse:
        """The windows of a request are run side by side, and so in one batch with those of other callers."""
        model = await self._found(request.model_name, request.model_version, context)
        manifest = model.manifest
        try:
            values, chosen = read_windows(request, manifest.feature_spec), requested(request, manifest)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        try:
            rows = await asyncio.gather(*(self._engine.infer(model, window) for window in values))
            outputs = {name: np.stack([row[name] for row in rows]) for name in manifest.outputs}
            return answer(request, manifest, chosen, interpret_many(outputs, manifest, values).each())
        except Rejected as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
            raise  # abort raises; this tells mypy

    async def _found(self, name: str, number: str, context: Context) -> OnnxModel:
        try:
            return self._model(name, number)
        except Rejected as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise  # abort raises; this tells mypy

    def _model(self, name: str, number: str) -> OnnxModel:
        if number and not (number.isascii() and number.isdigit()):
            raise Rejected(f"model {name!r}: version {number[:40]!r} is no number; give one, or none")
        return self._models.named(name, int(number) if number else None)
