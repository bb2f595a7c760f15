"""`control-plane archive`."""

import json
from typing import Annotated

import typer
from rich.progress import track

from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from control_plane.objects.archive import archive as send
from control_plane.objects.archive import files_of
from control_plane.objects.bucket import Bucket
from shared.command_line import console


def archive(
    data_dir: DataDir,
    to: Annotated[str, typer.Option(envvar="PM_ARCHIVE", help="s3:// or gs:// address")],
    as_json: Json = False,
) -> None:
    """Copy the signed repositories and the audit logs to an object store; as often as you like.

    Credentials and endpoint come from the environment, as every tool of the store has them: AWS_REGION,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; GOOGLE_APPLICATION_CREDENTIALS. What never
    changes is sent once.

    Example: control-plane archive --data-dir data --to gs://my-project-1-pm-releases
    """
    layout, bucket = Layout(data_dir), Bucket(to, "--to")
    files = files_of(layout)
    sent = 0
    screen = console()
    for _, was_sent in track(
        send(layout, bucket), "sending", len(files), console=screen, disable=as_json or not screen.is_terminal
    ):
        sent += was_sent
    if as_json:
        print(json.dumps({"to": bucket.address, "files": len(files), "sent": sent}))
    else:
        print(f"{bucket.address}: {sent} of {len(files)} files sent, the others were there")
