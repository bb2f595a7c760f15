#!/opt/pm-stack-smr/bin/python -I
"""`healthy URL`, for an image's health check: ends with 0 when the URL answers 200 within 4 s."""

import sys
from http import HTTPStatus
from urllib.request import urlopen

with urlopen(sys.argv[1], timeout=4) as answer:  # noqa: S310 - an address of the image's own
    sys.exit(answer.status != HTTPStatus.OK)
