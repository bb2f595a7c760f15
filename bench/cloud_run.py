"""The inference image as Cloud Run starts it: PORT, HTTP/2 in clear, a release from an object store, SIGTERM.

Enters: a centre with a published release. Leaves: a running container, its door and a caller's token. The
object store is moto's S3 on this machine, spoken to over HTTP.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import boto3
from moto.server import ThreadedMotoServer

from bench.containers import USER_ID, Container, running
from control_plane.objects.archive import archive
from control_plane.objects.bucket import Bucket
from control_plane.serving.tokens import TokenFile
from shared.listen import free_port
from tests.support.releases import Centre

HOST, BUCKET = "127.0.0.1", "releases"
SECRETS = "/secrets"


class Service(NamedTuple):
    """Where it answers, the token that it asks for, and when it was started (monotonic seconds)."""

    container: Container
    address: str
    token: str
    began_s: float


@contextmanager
def cloud_run(centre: Centre, folder: Path, config: Path, config_inside: str) -> Iterator[Service]:
    """The image with what the platform and `infra/deploy_config.yaml` give it, and nothing else."""
    folder.mkdir()
    token = TokenFile(folder / "tokens").add("caller")
    shutil.copy(centre.image.root, folder / "root.json")
    for path in (folder, *folder.iterdir()):
        os.chown(path, USER_ID, USER_ID)
    with _object_store(centre) as variables:
        port = free_port()
        environment = variables | {
            "K_SERVICE": "pm-inference", "PORT": str(port), "PM_RELEASES": f"s3://{BUCKET}/repository",
            "PM_RELEASES_ROOT": f"{SECRETS}/root.json", "PM_INFERENCE_TOKENS": f"{SECRETS}/tokens",
            "PM_INFERENCE_METRICS": f"{HOST}:{free_port()}",
        }  # fmt: skip
        volumes = {config: config_inside, folder: SECRETS}
        began_s = monotonic()
        with running("inference", volumes=volumes, environment=environment) as container:
            yield Service(container, f"{HOST}:{port}", token, began_s)


@contextmanager
def _object_store(centre: Centre) -> Iterator[dict[str, str]]:
    """A bucket with what `control-plane archive` sends there; the variables that lead to it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line a request
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    variables = {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()), "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
    }  # fmt: skip
    os.environ.update(variables)  # this process sends the releases
    try:
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        for _ in archive(centre.layout, Bucket(f"s3://{BUCKET}", "--to")):
            pass
        yield variables
    finally:
        for name in variables:
            os.environ.pop(name)
        server.stop()
