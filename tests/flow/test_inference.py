"""Inference at the centre over real gRPC: the same answer as at the edge, or a clear refusal."""

import math
from datetime import UTC, datetime

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from control_plane.serving.engine import Engine
from control_plane.serving.published import PublishedModels
from control_plane.serving.server import start_inference_server
from control_plane.serving.service import InferenceService
from edge_agent.scoring import Scorer
from shared.listen import free_port
from shared.schemas import ComponentId, Window
from shared.wire import rul_pb2, rul_pb2_grpc
from tests.support.releases import Centre, make_release, references, spec

SPEC = spec()
VALUES = np.linspace(1, 9, SPEC.window_cycles * len(SPEC.tags), dtype=np.float32)


@pytest.fixture
def centre(tmp_path):
    return Centre(tmp_path)


@pytest.fixture
async def served(centre):
    """`(models, stub)` of a running inference server."""
    models = PublishedModels(centre.layout.repository)
    address = f"127.0.0.1:{free_port()}"
    engine = Engine()
    server = await start_inference_server(InferenceService(models, engine), address)
    async with grpc.aio.insecure_channel(address) as channel:
        yield models, rul_pb2_grpc.RULInferenceServiceStub(channel), address
    await server.stop(None)
    engine.close()


def request(features=VALUES, component="coolant_pump", component_type="", **more):
    window = rul_pb2.SensorWindow(
        site_id="TX01", reactor_id="R1", component=component, component_type=component_type,
        features=[float(x) for x in features], timestamp="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return rul_pb2.PredictRULRequest(window=window, **more)


async def code_of(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_the_answer_is_the_edges(centre, served):
    models, stub, _ = served
    manifest, model = make_release(references=references(SPEC, normal=-900.0))
    centre.publish(manifest, model)
    models.refresh()
    values = VALUES.copy()
    values[5] = math.nan
    answer = await stub.PredictRUL(request(values, explain=True))
    window = Window(
        ComponentId("TX01", "R1", "coolant_pump"), "coolant_pump", 1, datetime(2026, 1, 1, tzinfo=UTC),
        SPEC.tags, values.reshape(SPEC.window_cycles, -1),
    )  # fmt: skip
    edge = Scorer.load(manifest, model).score(window)
    assert np.float32(answer.predicted_rul) == np.float32(edge.rul)
    assert np.float32(answer.anomaly_score) == np.float32(edge.anomaly_score)
    assert (answer.rul_state, answer.is_anomaly) == (edge.rul_state, edge.is_anomaly)
    assert len(edge.contributions) == 3
    assert [(c.tag, c.of, c.unit) for c in answer.contributions] == [
        (c.tag, c.of, c.unit) for c in edge.contributions
    ]
    assert [c.effect for c in answer.contributions] == pytest.approx([c.effect for c in edge.contributions])
    assert (answer.model_version, answer.model_sha256) == ("coolant_pump/1", manifest.sha256)


async def test_a_newer_publication_is_taken_up_without_a_restart(centre, served):
    models, stub, _ = served
    for version in (1, 2, 10):
        centre.publish(*make_release(version=version, bias=version))
        models.refresh()
        assert (await stub.PredictRUL(request())).model_version == f"coolant_pump/{version}"


async def test_a_withheld_number_is_no_number(centre, served):
    models, stub, _ = served
    centre.publish(*make_release(ood_threshold=-1.0))
    models.refresh()
    answer = await stub.PredictRUL(request())
    assert (answer.rul_state, answer.withheld_because) == ("withheld", "out_of_distribution")
    assert math.isnan(answer.predicted_rul)


async def test_what_is_not_published_is_not_served(centre, served):
    models, stub, _ = served
    models.refresh()
    assert await code_of(stub.PredictRUL(request())) == (
        grpc.StatusCode.NOT_FOUND,
        "no published model for component type 'coolant_pump'; there are: none",
    )


async def test_a_published_file_that_was_changed_is_not_served(centre, served):
    models, stub, _ = served
    centre.publish(*make_release())
    path = centre.layout.repository / "image/targets/coolant_pump/1/model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    models.refresh()
    assert (await code_of(stub.PredictRUL(request())))[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("features", "words"),
    [(VALUES[:-1], "found 239 numbers"), ([], "found 0 numbers"), (VALUES * math.nan, "not one finite")],
)
async def test_a_window_that_does_not_fit_is_named(centre, served, features, words):
    models, stub, _ = served
    centre.publish(*make_release())
    models.refresh()
    code, said = await code_of(stub.PredictRUL(request(features)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in said


async def test_a_component_may_be_named_unlike_its_type(centre, served):
    models, stub, _ = served
    centre.publish(*make_release())
    models.refresh()
    answer = await stub.PredictRUL(request(component="pump_a", component_type="coolant_pump"))
    assert answer.model_version == "coolant_pump/1"


async def test_a_bad_timestamp_is_named(centre, served):
    models, stub, _ = served
    centre.publish(*make_release())
    models.refresh()
    asked = request()
    asked.window.timestamp = "yesterday"
    code, said = await code_of(stub.PredictRUL(asked))
    assert (code, "yesterday" in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_the_service_describes_itself(tmp_path):
    """Reflection: `grpcurl` finds the service without a .proto."""
    import asyncio
    import threading

    address, ready, done = f"127.0.0.1:{free_port()}", threading.Event(), threading.Event()

    async def serve() -> None:
        service = InferenceService(PublishedModels(tmp_path), Engine())
        server = await start_inference_server(service, address)
        ready.set()
        await asyncio.to_thread(done.wait)
        await server.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    with grpc.insecure_channel(address) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    done.set()
    thread.join()
    assert "shared.wire.RULInferenceService" in services
