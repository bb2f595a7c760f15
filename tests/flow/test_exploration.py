"""Exploration beside the plant's own predictions: over real gRPC, told apart for ever on the record."""

import asyncio

import grpc
import pytest

from control_plane.audit.query import Question, ask
from control_plane.serving.caller import EXPLORATION, PURPOSE
from control_plane.serving.client import Refused, RULInferenceClient
from shared.schemas import ComponentId, Window, utc_now
from shared.wire import open_inference_pb2 as oip
from shared.wire import open_inference_pb2_grpc, rul_pb2_grpc
from tests.support.inference import SPEC, VALUES, code_of, door, until, until_served
from tests.support.releases import Centre, make_release, references

PUMP = ComponentId("TX01", "R1", "coolant_pump")
ROWS = VALUES.reshape(SPEC.window_cycles, -1)


def window(values=ROWS):
    return Window(PUMP, "coolant_pump", None, utc_now(), SPEC.tags, values)


@pytest.fixture
async def served(tmp_path):
    """`(address, channel, centre)` of a door whose release answers."""
    centre = Centre(tmp_path)
    centre.publish(*make_release(references=references(SPEC)))
    async with door(centre) as address, grpc.aio.insecure_channel(address) as channel:
        await until_served(rul_pb2_grpc.RULInferenceServiceStub(channel), "coolant_pump/1")
        yield address, channel, centre


async def predicted(address: str, purpose: str) -> str:
    """The prediction id of one call of our client."""
    with RULInferenceClient(address, purpose=purpose) as client:
        return (await asyncio.to_thread(client.predict, window())).prediction_id


async def test_what_is_tried_out_is_on_the_record_as_exploration(served):
    """Found by its mode, with the plant's own answers beside it under theirs; both protocols."""
    address, channel, centre = served
    plant, tried = await predicted(address, ""), await predicted(address, EXPLORATION)
    asked = oip.ModelInferRequest(model_name="coolant_pump", raw_input_contents=[ROWS.tobytes()])
    asked.inputs.add(name="window", datatype="FP32", shape=[1, *ROWS.shape])
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    answer = await stub.ModelInfer(asked, metadata=((PURPOSE, EXPLORATION),))
    names = [output.name for output in answer.outputs]
    openly = answer.raw_output_contents[names.index("prediction_id")][4:].decode()

    def found(mode: str) -> set[str]:
        return {row["prediction_id"] for row in ask(centre.layout, Question(mode=mode))}

    async def recorded() -> bool:
        log = centre.layout.inference_log()
        return all(log.find(each) is not None for each in (plant, tried, openly))

    await until(recorded)
    assert found("exploration") == {tried, openly}
    assert plant in found("active")
    assert not found("active") & {tried, openly}


async def test_a_purpose_that_is_none_is_refused(served):
    """A misspelt one would stand on the record as the plant's."""
    address, channel, _ = served
    with pytest.raises(Refused, match="x-purpose: found 'explore'; expected 'exploration'") as caught:
        await predicted(address, "explore")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    asked = oip.ModelInferRequest(model_name="coolant_pump", raw_input_contents=[ROWS.tobytes()])
    asked.inputs.add(name="window", datatype="FP32", shape=[1, *ROWS.shape])
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    code, said = await code_of(stub.ModelInfer(asked, metadata=((PURPOSE, "explore"),)))
    assert (code, "x-purpose" in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_reasons_are_given_where_they_are_asked_for(served):
    """`explain` reaches the server: contributions without anything flagged."""
    address, *_ = served

    def asked(explain: bool) -> int:
        with RULInferenceClient(address) as client:
            [answer] = client.predict_many([window(100 * ROWS)], explain=explain)
        return len(answer.contributions)

    assert [await asyncio.to_thread(asked, explain) for explain in (False, True)] == [0, 3]
