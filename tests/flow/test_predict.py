"""`control-plane predict` against a real inference server: a number, or a word about what is wrong."""

import asyncio
import csv
import json

import grpc
import numpy as np
import pytest

from control_plane.commands.predict import predict
from control_plane.enrolment.admission import Admission
from control_plane.enrolment.refusals import Refusals
from control_plane.serving.server_dialled import TOKEN
from control_plane.serving.tokens import TokenFile
from shared.errors import ConfigError, Rejected, Retryable
from shared.listen import free_port
from shared.onnx_model import OnnxModel
from shared.wire import rul_pb2_grpc
from tests.support.doors import Doors
from tests.support.inference import SPEC, VALUES, door, until_served
from tests.support.releases import Centre, make_release

ROWS = VALUES.reshape(SPEC.window_cycles, -1)
PLACE = "TX01/R1/coolant_pump"


def write(path, rows=ROWS, tags=SPEC.tags):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([tags, *rows])
    return path


async def test_a_window_in_a_file_gets_its_answer(tmp_path, capsys):
    """The number of the release that is served, its interval, and where the record has it."""
    centre, release = Centre(tmp_path), make_release()
    centre.publish(*release)
    file = write(tmp_path / "window.csv")
    async with door(centre) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            await until_served(rul_pb2_grpc.RULInferenceServiceStub(channel), "coolant_pump/1")
        capsys.readouterr()
        await asyncio.to_thread(predict, file, PLACE, inference=address, as_json=True)
        found = json.loads(capsys.readouterr().out)
        await asyncio.to_thread(predict, file, PLACE, inference=address)
        told = capsys.readouterr().out
        short = write(tmp_path / "short.csv", ROWS[:5])
        with pytest.raises(Rejected, match=f"found {ROWS[:5].size} numbers; coolant_pump has {ROWS.size}"):
            await asyncio.to_thread(predict, short, PLACE, inference=address)
    [[low, rul, high]] = OnnxModel(*release).run(ROWS[np.newaxis])["rul"]
    assert [found[name] for name in ("rul_low", "predicted_rul", "rul_high")] == pytest.approx(
        [low, rul, high]
    )
    assert (found["rul_state"], found["model_version"]) == ("ok", "coolant_pump/1")
    assert found["prediction_id"]
    assert f"{rul:.0f} cycles ({low:.0f} to {high:.0f})" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n1,x\n", "line 3, b: found 'x'; expected a number, or nothing"),
        ("a,b\n1\n", "line 2: found 1 cells; the header has 2"),
        ("", "found 0 rows after the header"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_by_its_line(tmp_path, text, words):
    file = tmp_path / "window.csv"
    file.write_text(text)
    with pytest.raises(Rejected, match=words):
        predict(file, PLACE)


def test_a_server_that_is_away_is_named(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Retryable, match=f"{address}: UNAVAILABLE"):
        predict(write(tmp_path / "window.csv"), PLACE, inference=address)
    with pytest.raises(Rejected, match="found 'pump'; expected site/reactor/component"):
        predict(tmp_path / "window.csv", "pump", inference=address)


async def answered(file, capsys, **how):
    """The answer of a server that may have taken up no release yet."""
    while True:
        capsys.readouterr()
        try:
            await asyncio.to_thread(predict, file, PLACE, as_json=True, **how)
        except Rejected as error:
            if "NOT_FOUND" not in str(error):
                raise
            await asyncio.sleep(0.05)
            continue
        return json.loads(capsys.readouterr().out.splitlines()[-1])  # after what the door logs


async def test_beyond_loopback_it_asks_over_tls_with_a_token(tmp_path, capsys, monkeypatch):
    """The real door: without the authority nothing is sent, without the token nothing answered."""
    centre = Centre(tmp_path)
    centre.publish(*make_release())
    file, tokens = write(tmp_path / "window.csv"), TokenFile(tmp_path / "tokens")
    monkeypatch.setenv(TOKEN, tokens.add("a.reyes"))
    async with door(centre, host="0.0.0.0", names=("127.0.0.1",), tokens=tokens.path) as address:
        server = f"127.0.0.1:{address.rpartition(':')[2]}"
        how = {"inference": server, "inference_ca": centre.layout.authority().path}
        assert (await answered(file, capsys, **how))["model_version"] == "coolant_pump/1"
        with pytest.raises(Retryable, match="hangs up may speak TLS alone"):
            await asyncio.to_thread(predict, file, PLACE, inference=server)
        monkeypatch.delenv(TOKEN)
        with pytest.raises(Retryable, match=r"UNAUTHENTICATED: .*the token comes from PM_INFERENCE_TOKEN"):
            await asyncio.to_thread(predict, file, PLACE, **how)
    with pytest.raises(ConfigError, match="beyond loopback inference speaks TLS: give --inference-ca"):
        predict(file, PLACE, inference="centre.example:50051")


async def test_it_shows_an_enrolled_sites_certificate(tmp_path, capsys):
    """Mutual TLS: for that site alone; a folder that is no identity is named before anything is dialled."""
    centre = Centre(tmp_path)
    centre.publish(*make_release())
    file, doors = write(tmp_path / "window.csv"), Doors(centre)
    async with doors.open():
        site = await doors.enrol("TX01", tmp_path / "site")
        admission = Admission(doors.register, Refusals(centre.layout.centre_log()))
        async with door(centre, admission, "0.0.0.0", names=("127.0.0.1",)) as address:
            server = f"127.0.0.1:{address.rpartition(':')[2]}"
            how = {"inference": server, "identity": site.identity.files.folder}
            assert (await answered(file, capsys, **how))["model_version"] == "coolant_pump/1"
            with pytest.raises(Rejected, match="TX01 may not ask for ID01"):
                await asyncio.to_thread(predict, file, "ID01/R1/coolant_pump", **how)
            authority = centre.layout.authority().path
            with pytest.raises(Retryable, match=r"hangs up may .* want to see a site's certificate"):
                await asyncio.to_thread(predict, file, PLACE, inference=server, inference_ca=authority)
    with pytest.raises(ConfigError, match="is no identity"):
        predict(file, PLACE, inference=server, identity=tmp_path)
