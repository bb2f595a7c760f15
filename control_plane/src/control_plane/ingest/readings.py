"""Readings at once: a message that is surely one becomes a row of columns, without a record of its own.

Enters: headers and bodies of some hundred messages. Leaves: `Readings`, or that not all of them could be
vouched for; ingest then looks at fewer, and at last at one by the schemas alone. So a rule here may be
stricter than the schema's and never laxer: what is refused, and why, is only ever said there.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter, methodcaller
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from control_plane.ingest.known_rows import KnownRows
from control_plane.sinks.batch import Readings
from control_plane.sinks.lake_tables import TABLES
from shared.envelope import SEQ_DIGITS_MAX, Envelope, Headers, parse_headers
from shared.errors import Rejected
from shared.schemas import ComponentId, Quality, Telemetry
from shared.schemas.base import Name

COLUMN_ROWS = 1_000  # are Python's objects at a time: few enough for a processor's cache
WHOLE_MAX = 2**63 - 1  # what a column of the lake holds

_Wholes = NDArray[np.int64]

_SCHEMA: pa.Schema = TABLES[Telemetry.SCHEMA].schema
_PARTS = ("timestamp", "seq", "cycle", "metrics", "quality")  # the columns that differ from row to row
_NAME = TypeAdapter(Name)
# Of a time as pydantic writes it, in UTC; it reads many other forms, and Arrow not quite the same ones.
_TIME_CHARS = frozenset({20, *range(22, 28)})
_YEAR_MIN = "0001"


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`Telemetry`, but for what is checked of all at once."""

    timestamp: str
    site_id: str
    reactor_id: str
    component: str
    metrics: dict[str, float]
    quality: dict[str, Quality] = {}
    cycle: Annotated[int, msgspec.Meta(ge=0, le=WHOLE_MAX)] | None = None


_IN_DOUBT = (
    ValueError,
    TypeError,
    LookupError,
    msgspec.MsgspecError,
    Rejected,
)  # pydantic's, Arrow's: ValueError
_envelope = itemgetter(*Envelope._fields)
_decode = msgspec.json.Decoder(_Body).decode


class _Place(NamedTuple):
    """What a row has in common with all of its component and store."""

    envelope: Envelope
    component: ComponentId


class _Places(dict[tuple[Any, ...], int]):
    """The number of each place, by the headers and names that say it; what is met first is checked then."""

    def __init__(self) -> None:
        self.all: list[_Place] = []

    def __missing__(self, key: tuple[Any, ...]) -> int:
        schema, site, store_id, config_hash, *names = key
        envelope = parse_headers(
            dict(zip(Envelope._fields, (schema, site, store_id, "0", config_hash), strict=True))
        )
        component = ComponentId(*map(_NAME.validate_python, names))
        if (envelope.schema, envelope.site) != (Telemetry.SCHEMA, component.site_id):
            raise ValueError("not a reading of this site")
        return self.note(key, _Place(envelope, component))

    def note(self, key: tuple[Any, ...], place: _Place) -> int:
        """A place that was checked elsewhere."""
        self[key] = len(self.all)
        self.all.append(place)
        return self[key]


class Gathered(NamedTuple):
    """The new readings of a batch; by store, how many rows were there already."""

    new: Readings
    repeats: Mapping[str, int]


class ReadingColumns:
    """The readings of one batch, in the order in which they came."""

    def __init__(self, known: KnownRows) -> None:
        self._known = known
        self._places = _Places()
        self._codes: list[int] = []  # of the places
        self._bodies: list[bytes] = []
        self._done: list[pa.RecordBatch] = []
        self._begin()

    def _begin(self) -> None:
        self._times: list[pa.Array] = []
        self._seqs: list[bytes] = []
        self._cycles: list[int | None] = []
        self._metrics: list[dict[str, float]] = []
        self._qualities: list[dict[str, Quality]] = []

    def take(self, marks: Sequence[Headers], bodies: Sequence[bytes]) -> bool:
        """Whether all of these messages are readings; if not, none is taken."""
        try:
            codes, seqs, times, rows = self._checked(marks, bodies)
        except _IN_DOUBT:
            return False
        self._codes += codes
        self._bodies += bodies
        self._times.append(times)
        self._seqs += seqs
        self._cycles += [row.cycle for row in rows]
        self._metrics += [row.metrics for row in rows]
        self._qualities += [row.quality for row in rows]
        if len(self._seqs) >= COLUMN_ROWS:
            self._to_columns()
        return True

    def add(self, record: Telemetry, envelope: Envelope, body: bytes) -> bool:
        """Take a reading that its schema allows; False when it must be said row by row what is new."""
        if self._known.room <= len(self._codes):
            return False
        own = envelope._replace(seq=0)
        key = (*own, *record.component_id)
        place = _Place(own, record.component_id)
        self._codes.append(self._places[key] if key in self._places else self._places.note(key, place))
        self._bodies.append(body)
        self._times.append(pa.array([record.timestamp], _SCHEMA.field("timestamp").type))
        self._seqs.append(b"%d" % envelope.seq)
        self._cycles.append(record.cycle)
        self._metrics.append(record.metrics)
        self._qualities.append(record.quality)
        return True

    def _checked(
        self, marks: Sequence[Headers], bodies: Sequence[bytes]
    ) -> tuple[list[int], Sequence[bytes], pa.Array, list[_Body]]:
        """Places, row numbers, times and bodies; an error of whatever kind when one is in doubt."""
        if self._known.room < len(self._codes) + len(bodies):
            raise ValueError("what is new must be said row by row")
        schemas, sites, stores, seqs, hashes = zip(*(_envelope(dict(m or ())) for m in marks), strict=True)
        _check_row_numbers(seqs)
        rows = [_decode(body) for body in bodies]
        if any(row.metrics.keys() & row.quality.keys() for row in rows if row.quality):
            raise ValueError("a number and a reason for the same tag")
        names = (
            [row.site_id for row in rows],
            [row.reactor_id for row in rows],
            [row.component for row in rows],
        )
        places = self._places
        codes = [places[key] for key in zip(schemas, sites, stores, hashes, *names, strict=True)]
        return codes, seqs, _times([row.timestamp for row in rows]), rows

    def _to_columns(self) -> None:
        types = {name: _SCHEMA.field(name).type for name in _PARTS}
        columns = [
            pa.chunked_array(self._times, types["timestamp"]).combine_chunks(),
            pa.array(self._seqs, pa.binary()).cast(pa.string()).cast(types["seq"]),
            pa.array(self._cycles, types["cycle"]),
            _maps(self._metrics, types["metrics"]),
            _maps(self._qualities, types["quality"]),
        ]
        self._done.append(pa.RecordBatch.from_arrays(columns, list(_PARTS)))
        self._begin()

    def gathered(self) -> Gathered:
        """What is new; noted as known from now on."""
        self._to_columns()
        parts, codes = pa.Table.from_batches(self._done), np.array(self._codes, np.int64)
        places = self._places.all
        per_place = {
            "site_id": [p.component.site_id for p in places],
            "reactor_id": [p.component.reactor_id for p in places],
            "component": [p.component.component for p in places],
            "store_id": [p.envelope.store_id for p in places],
            "config_hash": [p.envelope.config_hash for p in places],
        }
        columns = {
            name: pa.array(values, pa.string()).take(pa.array(codes)) for name, values in per_place.items()
        }
        columns |= {name: parts[name] for name in _PARTS}
        table = pa.table([columns[name] for name in _SCHEMA.names], schema=_SCHEMA).combine_chunks()
        readings = Readings(table, self._bodies, codes, [p.component.key for p in places])
        is_new, repeats = self._news(codes, parts["seq"].to_numpy())
        return Gathered(readings.where(is_new), repeats)

    def _news(self, codes: _Wholes, seqs: _Wholes) -> tuple[NDArray[np.bool_], dict[str, int]]:
        """Which rows are new, the first of equal ones; by store, how many are not."""
        stores: dict[str, int] = {}
        of_place = [stores.setdefault(p.envelope.store_id, len(stores)) for p in self._places.all]
        is_new, repeats = np.zeros(len(codes), np.bool_), {}
        of_row = np.array(of_place, np.int64)[codes]
        order = np.argsort(of_row, kind="stable")
        ends = np.searchsorted(of_row[order], np.arange(1, len(stores)))
        for store, rows in zip(stores, np.split(order, ends), strict=bool(stores)):
            is_new[rows] = found = self._known.add_rows(store, seqs[rows])
            if not found.all():
                repeats[store] = int(len(found) - found.sum())
        return is_new, repeats


def _check_row_numbers(seqs: Sequence[bytes]) -> None:
    sizes = set(map(len, seqs))
    if not b"".join(seqs).isdigit() or min(sizes) < 1 or max(sizes) > SEQ_DIGITS_MAX:
        raise ValueError("not a row number")


def _times(stamps: list[str]) -> pa.Array:
    """Arrow reads ISO 8601, but for what is checked here as pydantic does."""
    utc = "\n".join([*stamps, ""]).count("Z\n")
    if utc != len(stamps) or min(stamps) < _YEAR_MIN or not _TIME_CHARS.issuperset(map(len, stamps)):
        raise ValueError("not in the usual form")
    return pa.array(stamps, pa.string()).cast(_SCHEMA.field("timestamp").type)


def _maps(rows: Sequence[Mapping[str, Any]], kind: pa.MapType) -> pa.Array:
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32) if any(rows) else np.zeros(len(rows) + 1, np.int32)
    keys = pa.array(list(chain.from_iterable(rows)), kind.key_type)
    items = pa.array(list(chain.from_iterable(map(methodcaller("values"), rows))), kind.item_type)
    return pa.MapArray.from_arrays(ends, keys, items)
