"""What a bad day makes of one OPC UA answer: bytes in, bytes out. Pure but for the dice.

It makes no lie that no reader could find out: a value that is old has its own old SourceTimestamp, and
a number that is no good has a status that says so.
"""

import random
import struct
from collections import deque
from enum import StrEnum
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

REMEMBERED = 40  # notifications of a connection; more than the moments that a reader keeps
HEAD_BYTES = 24  # of a chunk: type, size, channel, token, sequence number, request; part 6, section 6.7.2
READ, MADE, PUBLISHED = "Read", "CreateMonitoredItems", "Publish"

_CODES: Final = ua.StatusCodes
BAD_STATUS: Final = (
    _CODES.BadNoCommunication,
    _CODES.BadSensorFailure,
    _CODES.BadTimeout,
    _CODES.BadOutOfRange,
)
UNCERTAIN_STATUS: Final = (_CODES.UncertainLastUsableValue, _CODES.UncertainSubNormal, _CODES.Uncertain)
FAULTS: Final = (_CODES.BadTooManyOperations, _CODES.BadInternalError, _CODES.BadSessionIdInvalid)


class BadDay(StrEnum):
    """What may happen to one answer."""

    DELAY = "delay"  # of it and of all that follow
    SILENCE = "silence"  # it never comes
    PIECES = "pieces"  # a few bytes at a time
    RESET = "reset"
    HALF_CHUNK = "half a chunk"  # and the connection is closed
    RESTART = "restart"
    GARBLED_HEAD = "garbled head"
    OTHER_REQUEST = "other request"  # under the id of a request near it
    SERVICE_FAULT = "service fault"
    UNKNOWN_NODE = "unknown node"
    BAD_VALUE = "bad value"
    UNCERTAIN_VALUE = "uncertain value"
    STALE_VALUE = "stale value"  # one variable's of before, with its own SourceTimestamp
    OLD_NOTIFICATION = "old notification"  # in the place of the new one, which is lost
    LOST_SUBSCRIPTION = "lost subscription"  # no notification comes any more


_FITS: Final = {
    BadDay.UNKNOWN_NODE: {READ, MADE, PUBLISHED},
    BadDay.BAD_VALUE: {READ, PUBLISHED},
    BadDay.UNCERTAIN_VALUE: {READ, PUBLISHED},
    BadDay.STALE_VALUE: {PUBLISHED},
    BadDay.OLD_NOTIFICATION: {PUBLISHED},
    BadDay.LOST_SUBSCRIPTION: {PUBLISHED},
}
_TYPES: Final = {READ: ua.ReadResponse, MADE: ua.CreateMonitoredItemsResponse, PUBLISHED: ua.PublishResponse}


def service_of(chunk: bytes) -> str:
    """The service of a request or an answer; empty where the chunk is none."""
    if chunk[:3] != b"MSG" or len(chunk) < HEAD_BYTES + 4 or chunk[24:26] != b"\x01\x00":
        return ""
    name: str = ua.ObjectIdNames[struct.unpack_from("<H", chunk, 26)[0]]
    return name.removesuffix("_Encoding_DefaultBinary").removesuffix("Request").removesuffix("Response")


def days_for(service: str) -> list[BadDay]:
    """What may happen to an answer of this service."""
    return [day for day in BadDay if service in _FITS.get(day, {service})]


class Answers:
    """One connection's answers: remembers what the server notified, and spoils an answer on a day."""

    def __init__(self, dice: random.Random) -> None:
        self._random = dice
        self._notified: deque[bytes] = deque(maxlen=REMEMBERED)

    def remember(self, service: str, chunk: bytes) -> None:
        """Keep a notification for a later bad day."""
        if service == PUBLISHED:
            self._notified.append(chunk[HEAD_BYTES:])

    def spoiled(self, day: BadDay, service: str, chunk: bytes) -> bytes:
        """The answer as that day makes it; as it is, where the day finds nothing to spoil."""
        if day is BadDay.GARBLED_HEAD:
            return self._garbled(chunk)
        if day is BadDay.OTHER_REQUEST:
            (request,) = struct.unpack_from("<I", chunk, 20)
            other = (request + self._random.choice([-2, -1, 1, 2])) & 0xFFFF_FFFF
            return chunk[:20] + struct.pack("<I", other) + chunk[24:]
        if day in {BadDay.SERVICE_FAULT, BadDay.LOST_SUBSCRIPTION}:
            lost = day is BadDay.LOST_SUBSCRIPTION
            return _with_body(
                chunk, _fault(_CODES.BadNoSubscription if lost else self._random.choice(FAULTS))
            )
        if day is BadDay.OLD_NOTIFICATION and self._notified:
            return _with_body(chunk, self._random.choice(self._notified))
        if service in _TYPES:
            answer = struct_from_binary(_TYPES[service], Buffer(chunk[HEAD_BYTES:]))
            self._spoil(day, answer)
            return _with_body(chunk, struct_to_binary(answer))
        return chunk

    def _garbled(self, chunk: bytes) -> bytes:
        """One byte wrong of what says what the answer is, and to which request."""
        garbled = bytearray(chunk)
        garbled[self._random.randrange(min(HEAD_BYTES + 4, len(chunk)))] ^= self._random.randrange(1, 256)
        return bytes(garbled)

    def _spoil(self, day: BadDay, answer: Any) -> None:
        """One value, or one made item, of the answer."""
        if isinstance(answer, ua.CreateMonitoredItemsResponse):
            self._random.choice(answer.Results).StatusCode = ua.StatusCode(_CODES.BadNodeIdUnknown)
            return
        items = _items(answer) if isinstance(answer, ua.PublishResponse) else []
        values = [item.Value for item in items] or getattr(answer, "Results", [])
        if not values:
            return
        place = self._random.randrange(len(values))
        if day is BadDay.STALE_VALUE:
            items[place].Value = self._value_before(items[place])
        elif day is BadDay.UNKNOWN_NODE:
            values[place].StatusCode, values[place].Value = ua.StatusCode(_CODES.BadNodeIdUnknown), None
        else:
            codes = BAD_STATUS if day is BadDay.BAD_VALUE else UNCERTAIN_STATUS
            values[place].StatusCode = ua.StatusCode(self._random.choice(codes))

    def _value_before(self, item: ua.MonitoredItemNotification) -> ua.DataValue:
        """The same variable's of a notification before; the one of now where there is none."""
        if not self._notified:
            return item.Value
        before = struct_from_binary(ua.PublishResponse, Buffer(self._random.choice(self._notified)))
        values = [other.Value for other in _items(before) if other.ClientHandle == item.ClientHandle]
        return values[-1] if values else item.Value


def _items(answer: ua.PublishResponse) -> list[ua.MonitoredItemNotification]:
    told = answer.Parameters.NotificationMessage.NotificationData or ()
    return [
        item for data in told if isinstance(data, ua.DataChangeNotification) for item in data.MonitoredItems
    ]


def _fault(code: int) -> bytes:
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(code)
    body: bytes = struct_to_binary(fault)
    return body


def _with_body(chunk: bytes, body: bytes) -> bytes:
    return chunk[:4] + struct.pack("<I", HEAD_BYTES + len(body)) + chunk[8:HEAD_BYTES] + body
