"""Readings at once: a message that is surely one becomes a row of columns, without a record of its own.

Enters: headers and bodies of some hundred messages. Leaves: `Readings`, or that not all of them could be
vouched for; ingest then looks at fewer, and at last at one by the schemas alone. So a rule here may be
stricter than the schema's and never laxer: what is refused, and why, is only ever said there.
"""

from array import array
from collections.abc import Mapping, MutableSequence, Sequence
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec.structs import astuple
from numpy.typing import NDArray

from control_plane.ingest.known_rows import KnownRows
from control_plane.ingest.reading_places import IN_DOUBT, Place, Places
from control_plane.sinks.batch import Readings
from control_plane.sinks.lake_tables import TABLES
from shared.envelope import SEQ_DIGITS_MAX, Envelope, Headers
from shared.schemas import Quality, Telemetry

COLUMN_ROWS = 1_000  # are Python's objects at a time: few enough for a processor's cache
WHOLE_MAX = 2**63 - 1  # what a column of the lake holds

_Wholes = NDArray[np.int64]
_Times = NDArray[np.datetime64]  # microseconds, UTC

_SCHEMA: pa.Schema = TABLES[Telemetry.SCHEMA].schema
# The columns that differ from row to row.
_TYPES = {name: _SCHEMA.field(name).type for name in ("timestamp", "seq", "cycle", "metrics", "quality")}
_NO_TIMES = np.array([], "M8[us]")
# Of a time as pydantic writes it, in UTC; it reads many other forms, and Arrow not quite the same ones.
_TIME_CHARS = frozenset({20, *range(22, 28)})
_YEAR_MIN = "0001"
_signs = itemgetter(4, 7, 10, 13, 16, 19, -1)
_WHOLE_SECONDS, _FINER = tuple("--T::ZZ"), tuple("--T::.Z")


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`Telemetry`, but for what is checked of all at once."""

    timestamp: str
    site_id: str
    reactor_id: str
    component: str
    metrics: dict[str, float]
    quality: dict[str, Quality] = {}
    cycle: Annotated[int, msgspec.Meta(ge=0, le=WHOLE_MAX)] | None = None


_decode = msgspec.json.Decoder(_Body).decode


class Gathered(NamedTuple):
    """The new readings of a batch; by store, how many rows were there already."""

    new: Readings
    repeats: Mapping[str, int]


class _Maps:
    """A map for each row: their sizes, and the keys and values of all."""

    def __init__(self, values: MutableSequence[Any]) -> None:
        self._sizes, self._keys, self._values = [0], list[str](), values

    def extend(self, rows: Sequence[dict[str, Any]]) -> None:
        """More rows."""
        self._sizes += map(len, rows)
        self._keys += chain.from_iterable(rows)
        self._values.extend(chain.from_iterable(map(dict.values, rows)))

    def column(self, kind: pa.MapType) -> pa.Array:
        """All of them."""
        values = np.asarray(self._values) if isinstance(self._values, array) else self._values
        return pa.MapArray.from_arrays(
            np.cumsum(self._sizes, dtype=np.int32), self._key_column(), pa.array(values, kind.item_type)
        )

    def _key_column(self) -> pa.Array:
        """Made of one row's keys where all rows have the same, as those of one kind of component do."""
        rows, own = len(self._sizes) - 1, self._keys[: self._sizes[-1]]
        if rows and self._keys == own * rows:
            return pa.array(own, pa.string()).take(pa.array(np.tile(np.arange(len(own)), rows)))
        return pa.array(self._keys, pa.string())


class ReadingColumns:
    """The readings of one batch, in the order in which they came."""

    def __init__(self, known: KnownRows) -> None:
        self._known = known
        self._places = Places()
        self._codes: list[int] = []  # of the places
        self._bodies: list[bytes] = []
        self._done: list[pa.RecordBatch] = []
        self._begin()

    def _begin(self) -> None:
        self._times: list[_Times] = []
        self._seqs: list[bytes] = []
        self._cycles: list[int | None] = []
        self._metrics, self._qualities = _Maps(array("d")), _Maps([])

    def take(self, marks: Sequence[Headers], bodies: Sequence[bytes]) -> bool:
        """Whether all of these messages are readings; if not, none is taken."""
        if self._known.room < len(self._codes) + len(bodies):
            return False  # what is new must be said row by row
        try:
            stamps, *names, metrics, qualities, cycles = zip(*map(astuple, map(_decode, bodies)), strict=True)
            if any(qualities):
                _check_apart(metrics, qualities)
            codes, seqs = self._places.of(marks, list(zip(*names, strict=True)))
            _check_row_numbers(seqs)
            times = _times(stamps)
        except IN_DOUBT:
            return False
        self._codes += codes
        self._bodies += bodies
        self._times.append(times)
        self._seqs += seqs
        self._cycles += cycles
        self._metrics.extend(metrics)
        self._qualities.extend(qualities)
        if len(self._seqs) >= COLUMN_ROWS:
            self._to_columns()
        return True

    def add(self, record: Telemetry, envelope: Envelope, body: bytes) -> bool:
        """Take a reading that its schema allows; False when it must be said row by row what is new."""
        if self._known.room <= len(self._codes):
            return False
        own = envelope._replace(seq=0)
        key = (*own, *record.component_id)
        place = Place(own, record.component_id)
        self._codes.append(self._places[key] if key in self._places else self._places.note(key, place))
        self._bodies.append(body)
        self._times.append(np.array([record.timestamp.replace(tzinfo=None)], "M8[us]"))
        self._seqs.append(b"%d" % envelope.seq)
        self._cycles.append(record.cycle)
        self._metrics.extend([record.metrics])
        self._qualities.extend([record.quality])
        return True

    def _to_columns(self) -> None:
        columns = [
            pa.array(np.concatenate([_NO_TIMES, *self._times]), _TYPES["timestamp"]),
            pa.array(self._seqs, pa.binary()).cast(pa.string()).cast(_TYPES["seq"]),
            pa.array(self._cycles, _TYPES["cycle"]),
            self._metrics.column(_TYPES["metrics"]),
            self._qualities.column(_TYPES["quality"]),
        ]
        self._done.append(pa.RecordBatch.from_arrays(columns, list(_TYPES)))
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
        columns |= {name: parts[name] for name in _TYPES}
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


def _times(stamps: Sequence[str]) -> _Times:
    """numpy also reads zones, blanks and odd years: each sign must stand in its place, all else be digits."""
    text, rows, signs = "\n".join([*stamps, ""]), len(stamps), [*map(_signs, stamps)]
    whole, fine = signs.count(_WHOLE_SECONDS), signs.count(_FINER)
    expected = [rows, rows, rows, 2 * rows, 2 * rows, fine]
    if whole + fine != rows or [*map(text.count, "TZ\n-:.")] != expected:
        raise ValueError("not in the usual form")
    if not text.encode().translate(None, b"TZ\n-:.").isdigit() or min(stamps) < _YEAR_MIN:
        raise ValueError("no number, or no such year")
    if not _TIME_CHARS.issuperset(map(len, stamps)):
        raise ValueError("finer than a microsecond")
    return np.array([stamp[:-1] for stamp in stamps], "M8[us]")


def _check_apart(metrics: Sequence[dict[str, float]], qualities: Sequence[dict[str, Quality]]) -> None:
    if any(numbers.keys() & reasons.keys() for numbers, reasons in zip(metrics, qualities, strict=True)):
        raise ValueError("a number and a reason for the same tag")
