"""RFC 8785 JSON, written by msgspec where that writes the same bytes.

The two differ in whole floats, those with an exponent, integers that a double cannot hold, and the order of
names beyond ASCII: such a value is written by `rfc8785` itself, which takes ten times as long.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import rfc8785

PLAIN_MIN, PLAIN_MAX = 1e-4, 1e15  # between them a float that is not whole is written without an exponent
EXACT = 2**53  # beyond it a double is not every integer

_encode = msgspec.json.Encoder(order="sorted").encode


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """`value` as RFC 8785 has it; ValueError for what it cannot write (NaN, integers beyond 2**53)."""
    return _encode(_ready(dict(value)))


def _ready(value: Any) -> Any:
    """The same for msgspec to write."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is float and PLAIN_MIN <= abs(value) < PLAIN_MAX and not value.is_integer():
        return value
    if kind is int and -EXACT < value < EXACT:
        return value
    if kind is dict and _all_ascii(value):
        return {name: each if type(each) is str else _ready(each) for name, each in value.items()}
    if kind is list or kind is tuple:
        return [_ready(each) for each in value]
    return msgspec.Raw(rfc8785.dumps(value))


def _all_ascii(names: Iterable[Any]) -> bool:
    try:
        return "".join(names).isascii()
    except TypeError:  # one is no text
        return False
