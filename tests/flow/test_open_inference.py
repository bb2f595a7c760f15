"""The Open Inference Protocol over real gRPC: the clients that are there work, and are on the record."""

import asyncio
import json
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.onnx_model import OnnxModel
from shared.wire import open_inference_pb2 as oip
from shared.wire import open_inference_pb2_grpc, rul_pb2_grpc
from tests.support.inference import VALUES, door, request, until, until_served
from tests.support.releases import Centre, make_release, spec

SPEC = spec()
CYCLES, TAGS = SPEC.window_cycles, len(SPEC.tags)
TRITON = Path(__file__).parents[1] / "support" / "triton_calls.py"
RELEASE = make_release()


@pytest.fixture
async def served(tmp_path):
    """`(address, channel)` of a door whose release answers, and its centre."""
    centre = Centre(tmp_path)
    centre.publish(*RELEASE)
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        await until_served(rul_pb2_grpc.RULInferenceServiceStub(channel), "coolant_pump/1")
        yield address, channel, centre


def infer_request(values=VALUES):
    asked = oip.ModelInferRequest(model_name="coolant_pump", raw_input_contents=[values.tobytes()])
    asked.inputs.add(name="window", datatype="FP32", shape=[1, CYCLES, TAGS])
    return asked


async def on_record(centre, prediction_id):
    """The entry of a prediction and its window, once it is committed."""
    log = centre.layout.inference_log()

    async def there() -> bool:
        return log.find(prediction_id) is not None

    await until(there)
    return log.find(prediction_id)


async def test_tritons_client_gets_every_answer_and_every_refusal(served):
    """Another project's client, unchanged: what it asks for it gets, and what is wrong is named."""
    address, _, centre = served
    process = await asyncio.create_subprocess_exec(
        sys.executable, TRITON, address, str(CYCLES), str(TAGS), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    said = json.loads(out)
    assert [said[name] for name in ("live", "ready", "model_ready", "other_ready")] == [
        True,
        True,
        True,
        False,
    ]
    assert (said["server"], said["id"], said["chosen"]) == ("pm-stack-smr", "7", ["rul"])
    assert said["metadata"]["inputs"] == [
        {"name": "window", "datatype": "FP32", "shape": ["-1", str(CYCLES), str(TAGS)]}
    ]
    values = np.linspace(1, 9, 2 * CYCLES * TAGS, dtype=np.float32).reshape(2, CYCLES, TAGS)
    expected = OnnxModel(*RELEASE).run(values)["rul"]
    assert np.array(said["rul"], np.float32) == pytest.approx(expected)
    assert said["state"] == ["ok", "ok"]
    assert "NOT_FOUND" in said["unknown"]
    assert "coolant_pump/1" in said["unknown"]
    for name, words in {
        "shape": f"input 'window': shape [{CYCLES}, {TAGS}]; expected [n, {CYCLES}, {TAGS}]",
        "datatype": "input 'window': datatype FP64; expected FP32",
        "site": "parameter site_id: found 'a/b'",
    }.items():
        assert "INVALID_ARGUMENT" in said[name]
        assert words in said[name]
    for number, prediction_id in enumerate(said["prediction_ids"]):
        entry, window = await on_record(centre, prediction_id)
        assert (entry.prediction.site_id, entry.prediction.component) == ("TX02", "coolant_pump")
        assert window == values[number].tobytes()


async def test_both_services_give_the_same_answer(served):
    """One engine, one rule: bits of our own service's answer."""
    _, channel, _ = served
    ours = await rul_pb2_grpc.RULInferenceServiceStub(channel).PredictRUL(request())
    theirs = await open_inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(infer_request())
    raw = dict(zip([tensor.name for tensor in theirs.outputs], theirs.raw_output_contents, strict=True))
    assert np.frombuffer(raw["rul"], "<f4").tolist() == [ours.rul_low, ours.predicted_rul, ours.rul_high]
    assert np.frombuffer(raw["anomaly_score"], "<f4") == ours.anomaly_score
    assert theirs.parameters["model_sha256"].string_param == ours.model_sha256


async def test_health_and_reflection_know_the_protocol(served):
    """`grpc_health_probe -service inference.GRPCInferenceService`, and `grpcurl` without a .proto."""
    _, channel, _ = served
    name = "inference.GRPCInferenceService"
    found = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert found.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
    [answer] = [each async for each in stub.ServerReflectionInfo(iter([asked]))]
    [file, *_] = answer.file_descriptor_response.file_descriptor_proto
    assert b"GRPCInferenceService" in file
