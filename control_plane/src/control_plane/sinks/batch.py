"""What ingest hands on at once: readings as columns, every other record as an object.

A reading is most of all records. As an object it costs more than all else that is done with it, so one is
made only where a sink asks for it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import compress
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from control_plane.sinks.arrival import Arrival
from shared.envelope import Envelope
from shared.schemas import Telemetry, parse_record

Wanted = Callable[[str, str], bool]  # by schema and `site/reactor/component`


class Readings(NamedTuple):
    """`table` has the columns of the lake's telemetry; row `n` came as `bodies[n]` (JSON) and is of the
    component with the key `keys[codes[n]]`."""

    table: pa.Table
    bodies: Sequence[bytes]
    codes: NDArray[np.int64]
    keys: Sequence[str]

    def where(self, mask: NDArray[np.bool_]) -> "Readings":
        """Those rows alone."""
        if mask.all():
            return self
        bodies = list(compress(self.bodies, mask.tolist()))
        return Readings(self.table.filter(pa.array(mask)), bodies, self.codes[mask], self.keys)

    def arrivals(self) -> Iterator[Arrival]:
        """An object of each."""
        origin = self.table.select(["site_id", "store_id", "seq", "config_hash"]).to_pydict()
        for body, *marks in zip(self.bodies, *origin.values(), strict=True):
            yield Arrival(parse_record(Telemetry.SCHEMA, body), body, Envelope(Telemetry.SCHEMA, *marks))


class Batch(Sequence[Arrival]):
    """New arrivals: the readings in order, then the others in order."""

    def __init__(self, readings: Readings, others: Sequence[Arrival]) -> None:
        self.readings, self.others = readings, others

    @cached_property
    def _all(self) -> list[Arrival]:
        return [*self.readings.arrivals(), *self.others]

    def __iter__(self) -> Iterator[Arrival]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self.readings.bodies) + len(self.others)

    @overload
    def __getitem__(self, at: int) -> Arrival: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Arrival]: ...
    def __getitem__(self, at: int | slice) -> Arrival | Sequence[Arrival]:
        return self._all[at]

    def where(self, wanted: Wanted) -> "Batch":
        """The part that is wanted."""
        readings = self.readings
        chosen = np.array([wanted(Telemetry.SCHEMA, key) for key in readings.keys], np.bool_)
        return Batch(readings.where(chosen[readings.codes]), _where(self.others, wanted))


def part(batch: Sequence[Arrival], wanted: Wanted) -> Sequence[Arrival]:
    """What is wanted of a batch, in order."""
    return batch.where(wanted) if isinstance(batch, Batch) else _where(batch, wanted)


def others(batch: Sequence[Arrival]) -> Sequence[Arrival]:
    """All that are no readings, and perhaps some that are."""
    return batch.others if isinstance(batch, Batch) else batch


def _where(arrivals: Sequence[Arrival], wanted: Wanted) -> list[Arrival]:
    return [a for a in arrivals if wanted(a.envelope.schema, a.record.key)]
