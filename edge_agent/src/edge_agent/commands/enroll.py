"""`edge-agent enroll`."""

from pathlib import Path
from typing import Annotated

import typer


def enroll(
    site: Annotated[str, typer.Option(envvar="EDGE_SITE", help="this site's id, for example TX01")],
    token: Annotated[
        str, typer.Option(envvar="EDGE_TOKEN", help="as `control-plane site token` printed it; enrols once")
    ],
    centre: Annotated[str, typer.Option(envvar="EDGE_ENROL", help="HOST:PORT of the centre's enrolment")],
    ca_fingerprint: Annotated[str, typer.Option(help="as `control-plane site token` printed it")],
    data_dir: Annotated[Path, typer.Option(envvar="EDGE_DATA_DIR", help="identity/ and trust/ go there")],
) -> None:
    """Get this site its certificate and what it trusts. Its key is made here and never leaves.

    From then on `edge-agent run` speaks TLS to the centre and renews the certificate by itself.

    Example: edge-agent enroll --site TX01 --token <TOKEN> --centre centre.example:50053
    --ca-fingerprint sha256:<64 digits> --data-dir /var/lib/edge-agent
    """
    from edge_agent.enrolment import enrol  # gRPC: the other commands start without it

    certificate = enrol(site, token, centre, ca_fingerprint, data_dir)
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    print(f"{site} is enrolled until {until}; the agent renews it\n{data_dir}/identity, {data_dir}/trust")
