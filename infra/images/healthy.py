#!/opt/pm-stack-smr/bin/python -I
"""`healthy URL` or `healthy HOST:PORT`: ends with 0 when the URL answers 200, or the port answers, in 4 s."""

import socket
import sys
from http import HTTPStatus
from urllib.request import urlopen

DEADLINE_S = 4  # below the health checks' own 5 s, so that it says why

where = sys.argv[1]
if "://" in where:
    with urlopen(where, timeout=DEADLINE_S) as answer:  # noqa: S310 - an address of the image's own
        sys.exit(answer.status != HTTPStatus.OK)
host, _, port = where.rpartition(":")
socket.create_connection((host, int(port)), DEADLINE_S).close()
