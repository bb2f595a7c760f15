"""An S3 to talk to: moto's server, on a thread of this process."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    """With an empty bucket, and the environment that leads every client there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true", "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # What tests before left in this process would be there still.
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", b"")
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    try:
        yield server
    finally:
        server.stop()
