"""Sparkplug B (specification 3.0.0): topics, metrics and qualities, for whoever publishes and whoever reads.

Enters: a component, numbers; or a payload's bytes. Leaves: the other of the two. Pure.
An edge node is a site, a device is a component; a site's messages share one `seq`.
"""

import math
from datetime import UTC, datetime
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from shared.errors import Rejected
from shared.schemas.base import ComponentId
from shared.wire import sparkplug_b_pb2 as pb

NAMESPACE: Final = "spBv1.0"
CYCLE: Final = "cycle"  # the device's counter among its metrics; no tag can stand for it
BD_SEQ: Final = "bdSeq"  # joins a death certificate to its birth
REBIRTH: Final = "Node Control/Rebirth"
QUALITY: Final = "Quality"
GOOD, BAD, STALE = 192, 0, 500
SEQ_MODULUS: Final = 256
PAYLOAD_BYTES_MAX: Final = 1024 * 1024  # some 20,000 metrics; longer is nobody's sensor

INT8, INT16, INT32, INT64 = 1, 2, 3, 4
UINT8, UINT16, UINT32, UINT64 = 5, 6, 7, 8
FLOAT, DOUBLE, BOOLEAN, STRING = 9, 10, 11, 12
_SIGNED_BITS: Final = {INT8: 32, INT16: 32, INT32: 32, INT64: 64}  # as they travel: uint32 and uint64
_WHOLE: Final = ("int_value", "long_value")
_FIELDS: Final = {
    **dict.fromkeys((INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64), _WHOLE),
    FLOAT: ("float_value",),
    DOUBLE: ("double_value",),
    BOOLEAN: ("boolean_value",),
}


class Topic(NamedTuple):
    """`spBv1.0/group/kind/node[/device]`; `device` is empty for the node itself."""

    group: str
    kind: str
    node: str
    device: str = ""

    @property
    def text(self) -> str:
        """As MQTT has it."""
        return "/".join([NAMESPACE, self.group, self.kind, self.node, *filter(None, [self.device])])

    @classmethod
    def parse(cls, text: str) -> "Topic":
        """Rejected when it is not Sparkplug's."""
        parts = text.split("/")
        if parts[0] != NAMESPACE or len(parts) not in (4, 5):
            raise Rejected(f"topic {text!r} is not {NAMESPACE}/group/kind/node[/device]")
        return cls(*parts[1:])


def device(component_id: ComponentId) -> str:
    """A component's name on its edge node (`:` stands in no name of ours)."""
    return f"{component_id.reactor_id}:{component_id.component}"


def parse(body: bytes) -> pb.SparkplugPayload:
    """A payload; Rejected when the bytes are none."""
    if len(body) > PAYLOAD_BYTES_MAX:
        raise Rejected(f"payload of {len(body)} bytes; at most {PAYLOAD_BYTES_MAX}")
    try:
        return pb.SparkplugPayload.FromString(body)
    except DecodeError as error:
        raise Rejected(f"no Sparkplug B payload: {error}") from error


def metric(name: str, value: float, time_ms: int, *, datatype: int = DOUBLE) -> pb.SparkplugMetric:
    """A metric with its quality; NaN becomes a null of bad quality."""
    missing = not math.isfinite(value)
    found = pb.SparkplugMetric(name=name, timestamp=time_ms, datatype=datatype)
    found.properties.keys.append(QUALITY)
    found.properties.values.add(type=INT32, int_value=BAD if missing else GOOD)
    if missing:
        found.is_null = True
    elif datatype == UINT64:
        found.long_value = int(value)
    else:
        found.double_value = value
    return found


def number(found: pb.SparkplugMetric, born_as: int = 0) -> float | None:
    """A metric's number; None when it is null, of bad quality, or no number of its datatype.

    `born_as` is the datatype of the birth certificate, 0 where none is known: data need not repeat it.
    Without either, a whole number that may be a negative one is none.
    """
    field = found.WhichOneof("value")
    datatype = found.datatype or born_as
    if found.is_null or field in (None, "string_value") or quality(found) != GOOD:
        return None
    if (born_as and datatype != born_as) or (datatype and field not in _FIELDS.get(datatype, ())):
        return None
    raw = getattr(found, field)
    return _whole(raw, field, datatype) if field in _WHOLE else _finite(raw)


def _whole(raw: int, field: str, datatype: int) -> float | None:
    """Signed ones travel in two's complement of their field, or of 32 bits in a longer one."""
    width = 32 if field == "int_value" else 64
    bits = _SIGNED_BITS.get(datatype)
    if bits is None:
        return None if not datatype and raw >= 1 << (width - 1) else float(raw)
    if raw >= 1 << (width - 1):
        raw -= 1 << width
    elif raw >= 1 << (bits - 1):
        raw -= 1 << bits
    return float(raw) if -(1 << (bits - 1)) <= raw < 1 << (bits - 1) else None


def _finite(raw: float) -> float | None:
    return float(raw) if math.isfinite(raw) else None


def sequence(payload: pb.SparkplugPayload) -> int:
    """The message's place, 0 to 255; Rejected when it says none: a message that was cut off has none."""
    if not payload.HasField("seq") or payload.seq >= SEQ_MODULUS:
        raise Rejected(f"seq {payload.seq if payload.HasField('seq') else 'is missing'}; expected 0 to 255")
    return int(payload.seq)


def source_time(payload: pb.SparkplugPayload) -> datetime:
    """When the node says it was; Rejected when it says nothing a clock could."""
    try:
        found = datetime.fromtimestamp(payload.timestamp / 1000, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise Rejected(f"timestamp {payload.timestamp} ms is no time: {error}") from error
    if not payload.timestamp:
        raise Rejected("a payload without a timestamp")
    return found


def quality(found: pb.SparkplugMetric) -> int:
    """The Quality property; good where there is none, as the specification has it."""
    for key, value in zip(found.properties.keys, found.properties.values, strict=False):
        if key == QUALITY:
            return int(value.long_value if value.WhichOneof("value") == "long_value" else value.int_value)
    return GOOD
