"""Repositories and audit logs in an object store, and inference from there: a real S3 API (moto)."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import grpc
import pytest
from moto.server import ThreadedMotoServer

from control_plane.commands.archive import archive
from control_plane.commands.serve import cloud_run
from control_plane.inference_answering import InferenceSettings
from control_plane.inference_door import InferenceDoor
from control_plane.layout import Layout
from control_plane.objects.bucket import Bucket
from control_plane.objects.releases import FetchedReleases
from control_plane.serving.published import PublishedModels
from control_plane.serving.tokens import TokenFile
from shared.errors import ConfigError, Rejected, Retryable, Untrusted
from shared.listen import free_port
from shared.wire import rul_pb2_grpc
from tests.support.inference import request
from tests.support.object_store import BUCKET, object_store
from tests.support.releases import Centre, make_release

ADDRESS = f"s3://{BUCKET}/centre"
READY_S, DRAIN_S = 60, 10


@pytest.fixture
def s3(monkeypatch) -> Iterator[ThreadedMotoServer]:
    with object_store(monkeypatch) as server:
        yield server


@pytest.fixture
def centre(tmp_path) -> Centre:
    """With one published release and a log of two files."""
    found = Centre(tmp_path)
    found.publish(*make_release())
    log = found.layout.tiles / "TX01"
    (log / "tile" / "0").mkdir(parents=True)
    (log / "tile" / "0" / "000").write_bytes(bytes(32) * 256)
    (log / "checkpoint").write_text("a note")
    for path in found.layout.data_dir.rglob("*"):
        os.utime(path, (0, 0))  # an object's time has whole seconds: what is just as old is sent again
    return found


def sent(centre: Centre, capsys) -> int:
    archive(centre.layout.data_dir, ADDRESS, as_json=True)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])  # the releases' own log lines come before
    assert told["to"] == ADDRESS
    return told["sent"]


def fetched(centre: Centre, folder) -> FetchedReleases:
    root = folder / "root.json"
    folder.mkdir(exist_ok=True)
    shutil.copy(centre.image.root, root)
    return FetchedReleases(Bucket(f"{ADDRESS}/repository", "--releases"), root, Layout(folder).repository)


def served(folder) -> list[str]:
    models = PublishedModels(Layout(folder).repository)
    models.refresh()
    return [each.model.manifest.folder for each in models.served()]


def test_files_are_sent_once_and_what_changes_again(s3, centre, capsys):
    """The second run sends only what is written anew in place; a new release is then there too."""
    first = sent(centre, capsys)
    again = sent(centre, capsys)
    assert first > 12
    assert again < first / 2
    names = Bucket(ADDRESS, "--to").listing()
    assert {"audit/TX01/checkpoint", "audit/TX01/tile/0/000"} <= set(names)
    assert not [name for name in names if name.endswith((".pem", ".lock", ".new"))]
    (centre.layout.tiles / "TX01" / "checkpoint").write_text("b note")  # of the same length
    sent(centre, capsys)
    assert Bucket(ADDRESS, "--to").get("audit/TX01/checkpoint", 100) == b"b note"


def test_releases_from_a_bucket_are_served_and_later_ones_follow(s3, centre, tmp_path, capsys):
    sent(centre, capsys)
    releases = fetched(centre, tmp_path / "inference")
    releases.refresh()
    assert served(tmp_path / "inference") == ["coolant_pump/1"]
    centre.publish(*make_release(version=2))
    releases.refresh()
    assert served(tmp_path / "inference") == ["coolant_pump/1"], "it is not in the bucket yet"
    sent(centre, capsys)
    releases.refresh()
    assert served(tmp_path / "inference") == ["coolant_pump/2"]


@pytest.mark.parametrize("what", ["model", "metadata", "root"])
def test_what_does_not_verify_leaves_what_was_verified(s3, centre, tmp_path, capsys, what):
    """Other bytes in the bucket, metadata of a stranger, a root that is not ours: refused by name."""
    sent(centre, capsys)
    folder = tmp_path / "inference"
    fetched(centre, folder).refresh()
    centre.publish(*make_release(version=2))
    sent(centre, capsys)
    client, releases = boto3.client("s3"), fetched(centre, folder)
    if what == "model":
        client.put_object(
            Bucket=BUCKET, Key="centre/repository/image/targets/coolant_pump/2/model.onnx", Body=b"another"
        )
    elif what == "metadata":
        client.put_object(
            Bucket=BUCKET, Key="centre/repository/image/metadata/timestamp.json", Body=b'{"signed": {}}'
        )
    else:
        stranger = Centre(tmp_path / "stranger")
        releases = fetched(stranger, tmp_path / "other")
    with pytest.raises(Untrusted, match=f"releases: {ADDRESS}/repository"):
        releases.refresh()
    assert served(folder) == ["coolant_pump/1"]


def test_a_store_that_is_away_or_no_address_is_told(s3, centre, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="found 'ftp://x'; expected s3://bucket/prefix or gs://"):
        Bucket("ftp://x", "--to")
    archive(centre.layout.data_dir, ADDRESS, as_json=True)
    with pytest.raises(Rejected, match="at most 2"):
        Bucket(ADDRESS, "--to").get("audit/TX01/checkpoint", 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(Retryable, match="Credentials and endpoint come from the environment"):
        Bucket(ADDRESS, "--to").listing()
    with pytest.raises(Retryable, match=ADDRESS):
        fetched(centre, tmp_path / "inference").refresh()


async def test_a_platforms_port_is_taken_and_a_token_asked_for(centre):
    """Cloud Run sets K_SERVICE and PORT; without a token file nothing is opened there."""
    assert cloud_run({}, "127.0.0.1:50051") == ("", "127.0.0.1:50051")
    assert cloud_run({"K_SERVICE": "x", "PORT": "1234"}, "127.0.0.1:50051") == ("Cloud Run", "0.0.0.0:1234")
    settings = InferenceSettings("0.0.0.0:1", front_end="Cloud Run")
    with pytest.raises(ConfigError, match=r"(?s)--inference-tokens.*is not given; Cloud Run ends TLS"):
        await InferenceDoor(centre.layout, settings, None).open(print)


@pytest.mark.slow
def test_the_service_keeps_cloud_runs_contract(s3, centre, tmp_path, capsys):
    """A process with PORT and K_SERVICE alone: gRPC over HTTP/2 in clear, a verified release from the bucket,
    a token is a must, SIGTERM drains within 10 s."""
    sent(centre, capsys)
    folder, port = tmp_path / "service", free_port()
    folder.mkdir()
    token = TokenFile(folder / "tokens.json").add("caller")
    shutil.copy(centre.image.root, folder / "root.json")
    (folder / "fleet.json").write_text('{"TX01": {"R1": {"coolant_pump": {}}}}')
    environment = os.environ | {
        "K_SERVICE": "pm-inference", "PORT": str(port), "PM_DATA_DIR": str(folder / "data"),
        "PM_CONFIG": str(folder / "fleet.json"), "PM_RELEASES": f"{ADDRESS}/repository",
        "PM_RELEASES_ROOT": str(folder / "root.json"), "PM_INFERENCE_TOKENS": str(folder / "tokens.json"),
    }  # fmt: skip
    command = [
        sys.executable,
        "-c",
        "from control_plane.cli import main; main()",
        "serve",
        "--part",
        "inference",
    ]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as service:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(READY_S)
                stub = rul_pb2_grpc.RULInferenceServiceStub(channel)
                with pytest.raises(grpc.RpcError) as refused:
                    stub.PredictRUL(request(), timeout=READY_S)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                answer = stub.PredictRUL(
                    request(),
                    timeout=READY_S,
                    wait_for_ready=True,
                    metadata=[("authorization", f"Bearer {token}")],
                )
                assert answer.model_version == "coolant_pump/1"
            service.send_signal(signal.SIGTERM)
            assert service.wait(DRAIN_S) == 0
        finally:
            service.kill()


def test_artifacts_of_mlflow_go_to_a_bucket(s3, tmp_path):
    """An experiment whose artifacts lie in S3: what is logged there comes back byte for byte."""
    import mlflow  # with its own second of import

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.create_experiment("e", artifact_location=f"s3://{BUCKET}/artifacts")
    mlflow.set_experiment("e")
    (tmp_path / "model.onnx").write_bytes(b"bytes")
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "model.onnx"))
    path = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="model.onnx", dst_path=str(tmp_path / "d")
    )
    assert Path(path).read_bytes() == b"bytes"
