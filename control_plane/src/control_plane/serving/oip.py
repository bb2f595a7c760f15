"""`inference.GRPCInferenceService`: the Open Inference Protocol v2 beside our own service, on its port.

Any client of KServe, MLServer, OpenVINO or Triton may ask so. A model is asked for by its release's name, and
by its version or none. The request's parameters `site_id`, `reactor_id`, `component` and `timestamp` say for
the audit record whose window it is. See `docs/open_inference.md`.
"""

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.serving.caller import SITE, mode_of, require_own_site
from control_plane.serving.engine import Engine, Run
from control_plane.serving.oip_tensors import answer, metadata, read_windows, requested
from control_plane.serving.published import NotServed, PublishedModels
from control_plane.serving.recording import record
from control_plane.serving.service import component, said, status_of
from shared.errors import Rejected, Retryable, Untrusted
from shared.interpret import Fields
from shared.onnx_model import OnnxModel
from shared.schemas import ComponentId, Window, utc_now
from shared.wire import open_inference_pb2 as oip
from shared.wire import open_inference_pb2_grpc

SERVICE = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
NOT_SAID = "not_said"  # the site and the reactor of a window whose caller names none

Floats = NDArray[np.float32]
Context = grpc.aio.ServicerContext[Any, Any]


class OpenInferenceService(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Answers by the rule of our own service, on its engine and its record, with its status codes.

    Without an audit log prediction ids are empty.
    """

    def __init__(self, models: PublishedModels, engine: Engine, audit: PredictionSpool | None = None) -> None:
        self._models, self._engine, self._audit = models, engine, audit

    async def ServerLive(  # noqa: N802 - the names in the .proto, here and below
        self, _request: oip.ServerLiveRequest, _context: Context
    ) -> oip.ServerLiveResponse:
        """It answers."""
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, _request: oip.ServerReadyRequest, _context: Context
    ) -> oip.ServerReadyResponse:
        """Whether any model is served."""
        return oip.ServerReadyResponse(ready=bool(self._models.served()))

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
        except NotServed:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=True)

    async def ModelMetadata(  # noqa: N802
        self, request: oip.ModelMetadataRequest, context: Context
    ) -> oip.ModelMetadataResponse:
        """Its tensors."""
        try:
            return metadata(self._model(request.name, request.version).manifest)
        except NotServed as error:
            await context.abort(status_of(error), str(error))
            raise  # abort raises; this tells mypy

    async def ModelInfer(  # noqa: N802
        self, request: oip.ModelInferRequest, context: Context
    ) -> oip.ModelInferResponse:
        """All windows of a request are answered, or none."""
        try:
            model = self._model(request.model_name, request.model_version)
            place, when = _place(request, model), _when(request)
            mode = mode_of(context.invocation_metadata())
            values = read_windows(request, model.manifest.feature_spec)
            chosen = requested(request, model.manifest)
            runs = await self._runs(model, values)
            found = [said(run) for run in runs]
        except (Rejected, Retryable, Untrusted, ValueError) as error:
            await context.abort(status_of(error), str(error))
        for fields, run, window in zip(found, runs, values, strict=True):
            fields["prediction_id"] = self._recorded(model, place, when, window, run, fields, mode)
        return answer(request, model.manifest, chosen, found)

    def _model(self, name: str, number: str) -> OnnxModel:
        if number and not (number.isascii() and number.isdigit()):
            raise NotServed(f"model {name[:80]!r}: found version {number[:80]!r}; expected a number, or none")
        return self._models.named(name, int(number) if number else None)

    async def _runs(self, model: OnnxModel, values: Floats) -> list[Run]:
        """Windows of one request run in one batch, with those of other callers."""
        if len(values) == 1:
            return [await self._engine.run(model, values[0])]
        return await self._engine.run_all(model, list(values))

    def _recorded(
        self, model: OnnxModel, place: ComponentId, when: datetime, values: Floats, run: Run, found: Fields,
        mode: str,
    ) -> str:  # fmt: skip
        if self._audit is None:
            return ""
        spec = model.manifest.feature_spec
        window = Window(place, spec.component_type, None, when, spec.tags, values)
        return record(self._audit, model, window, run, found, mode)


def _place(request: oip.ModelInferRequest, model: OnnxModel) -> ComponentId:
    """Whose windows they are; ValueError when a name is none, Untrusted when it is another site's."""
    given = request.parameters
    said = {name: given[name].string_param for name in ComponentId._fields if name in given} if given else {}
    place = component(
        said.get("site_id", SITE.get() or NOT_SAID),
        said.get("reactor_id", NOT_SAID),
        said.get("component", model.manifest.component_type),
        told_as="parameter ",
    )
    require_own_site(place.site_id)
    return place


def _when(request: oip.ModelInferRequest) -> datetime:
    """The time of the newest row: now where none is given, UTC where no offset is."""
    if "timestamp" not in request.parameters:
        return utc_now()
    text = request.parameters["timestamp"].string_param
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"parameter timestamp: found {text[:80]!r}; expected RFC 3339, for example 2026-01-01T00:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
