"""RFC 8785 JSON, worked out by the standard library's encoder where that writes the same bytes.

The two differ in numbers with an exponent, whole floats, integers that a double cannot hold, and the order
of names beyond ASCII: what may hold one of these goes to `rfc8785` itself, which takes ten times as long.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import rfc8785

# A number, where JSON lets one begin: of 16 digits, whole but with a point, or with an exponent. It may
# match within a string too, which costs time and changes nothing.
_ODD_NUMBER = re.compile(r"[:,\[]-?(?:\d{16}|\d+\.0[,\]}]|[\d.]+e)")

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """`value` as RFC 8785 has it; ValueError for what it cannot write (NaN, integers beyond 2**53)."""
    text = _encode(value)
    if text.isascii() and not _ODD_NUMBER.search(text):
        return text.encode()
    return rfc8785.dumps(dict(value))
