"""What a subscription brought of one component, sorted by the moment it was true at. Pure."""

from collections.abc import Collection
from datetime import datetime
from itertools import dropwhile
from typing import Final

from asyncua import ua

from shared.schemas import Quality

MOMENTS_MAX = 10  # kept of each component; as many as the server queues of a variable

_CODES: Final = ua.StatusCodes
_QUALITY_BY_STATUS: Final = {
    _CODES.BadNoCommunication: Quality.DISCONNECTED,
    _CODES.BadNotConnected: Quality.DISCONNECTED,
    _CODES.BadCommunicationError: Quality.DISCONNECTED,
    _CODES.BadConnectionClosed: Quality.DISCONNECTED,
    _CODES.BadServerNotConnected: Quality.DISCONNECTED,
    _CODES.BadShutdown: Quality.DISCONNECTED,
    _CODES.BadTimeout: Quality.TIMEOUT,
    _CODES.BadRequestTimeout: Quality.TIMEOUT,
    _CODES.BadOutOfRange: Quality.OUT_OF_RANGE,
    _CODES.UncertainEngineeringUnitsExceeded: Quality.OUT_OF_RANGE,
    _CODES.BadSensorFailure: Quality.NOT_A_NUMBER,
    _CODES.BadNoData: Quality.NOT_A_NUMBER,
    _CODES.UncertainLastUsableValue: Quality.STALE,
    _CODES.UncertainNoCommunicationLastUsableValue: Quality.STALE,
}


def quality_of(status: int) -> Quality:
    """Why a status that is not good brings no number; an uncertain value is not good either."""
    return _QUALITY_BY_STATUS.get(status & 0xFFFF_0000, Quality.DEVICE_EXCEPTION)


def number(value: ua.DataValue) -> float | Quality:
    """The value, which may be NaN, or why there is none."""
    if value.StatusCode is not None and not value.StatusCode.is_good():
        return quality_of(value.StatusCode.value)
    found = value.Value.Value if value.Value is not None else None
    return float(found) if isinstance(found, int | float) else Quality.NOT_A_NUMBER


class Moments:
    """One component's values by SourceTimestamp, in the order in which the moments first arrived.

    A status that is not good and has no SourceTimestamp is of every moment until a value replaces it.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._by_time: dict[datetime, dict[str, ua.DataValue]] = {}
        self._standing: dict[str, ua.DataValue] = {}
        self.newest: dict[str, ua.DataValue] = {}  # of each variable, whatever its moment

    def put(self, name: str, value: ua.DataValue) -> None:
        """Keep a value, and forget the oldest moment when there are too many."""
        self.newest[name] = value
        self._standing.pop(name, None)
        if value.SourceTimestamp is None:
            if isinstance(number(value), Quality):
                self._standing[name] = value
            return
        self._by_time.setdefault(value.SourceTimestamp, {})[name] = value
        if len(self._by_time) > MOMENTS_MAX:
            del self._by_time[next(iter(self._by_time))]

    def clear(self) -> None:
        """Forget all: what another connection brought says nothing about now."""
        self._by_time.clear()
        self._standing.clear()
        self.newest.clear()

    def at(self, moment: datetime | None) -> dict[str, ua.DataValue]:
        """What has arrived of one moment."""
        return self._standing | (self._by_time.get(moment, {}) if moment is not None else {})

    def newest_whole(self, since: datetime | None) -> dict[str, ua.DataValue] | None:
        """The newest moment, at or after `since`, of which every variable has arrived."""
        later = dropwhile(lambda entry: entry[0] != since, self._by_time.items())
        whole = [self._standing | values for _, values in later]
        whole = [values for values in whole if values.keys() >= self._names]
        return whole[-1] if whole else None
