"""Whose a reading is: the component and store that its headers and names say, each checked once a batch."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from pydantic import TypeAdapter

from shared.envelope import Envelope, Headers, headers, parse_headers
from shared.errors import Rejected
from shared.schemas import ComponentId, Outgoing, Telemetry
from shared.schemas.base import Name

_Names = tuple[str, str, str]  # site, reactor, component

_NAME = TypeAdapter(Name)
IN_DOUBT = (
    ValueError,
    TypeError,
    LookupError,
    msgspec.MsgspecError,
    Rejected,
)  # pydantic's, Arrow's: ValueError
_envelope = itemgetter(*Envelope._fields)
# Headers as a site writes them: all of a component's have the same ones, but for the last two.
_USUAL = list(headers(Outgoing(Telemetry.SCHEMA, "s/r/c", 0, b""), "-", 0, "-"))
_SAME = len(_USUAL) - 2
_SEQ, _ID = _USUAL[_SAME:]


class Place(NamedTuple):
    """What a row has in common with all of its component and store."""

    envelope: Envelope
    component: ComponentId


class Places(dict[tuple[Any, ...], int]):
    """The number of each place, by the headers and names that say it; what is met first is checked then."""

    def __init__(self) -> None:
        self.all: list[Place] = []
        self._usual: dict[_Names, tuple[int, Headers]] = {}  # by component: its place and its headers but two

    def of(self, marks: Sequence[Headers], names: Sequence[_Names]) -> tuple[Sequence[int], Sequence[bytes]]:
        """Places and row numbers of some messages; an error of whatever kind when one is in doubt."""
        try:
            return self._as_usual(marks, names)
        except IN_DOUBT:
            return self._one_by_one(marks, names)

    def _as_usual(self, marks: Any, names: Sequence[_Names]) -> tuple[Sequence[int], Sequence[bytes]]:
        """Headers that differ from those checked before in the row number alone."""
        codes, same = zip(*map(self._usual.__getitem__, names), strict=True)
        ends, seqs = zip(*[mark[_SAME] for mark in marks], strict=True)
        sound = tuple(mark[:_SAME] for mark in marks) == same and ends.count(_SEQ) == len(marks)
        if not sound or any(len(mark) != len(_USUAL) or mark[-1][0] != _ID for mark in marks):
            raise ValueError("other headers than before")
        return codes, seqs

    def _one_by_one(self, marks: Any, names: Sequence[_Names]) -> tuple[Sequence[int], Sequence[bytes]]:
        schemas, sites, stores, seqs, hashes = zip(*(_envelope(dict(m or ())) for m in marks), strict=True)
        codes = [
            self[*said, *name] for *said, name in zip(schemas, sites, stores, hashes, names, strict=True)
        ]
        for mark, name, code in zip(marks, names, codes, strict=True):
            if isinstance(mark, list) and [header for header, _ in mark] == _USUAL:
                self._usual[name] = code, mark[:_SAME]
        return codes, seqs

    def __missing__(self, key: tuple[Any, ...]) -> int:
        schema, site, store_id, config_hash, *names = key
        envelope = parse_headers(
            dict(zip(Envelope._fields, (schema, site, store_id, "0", config_hash), strict=True))
        )
        component = ComponentId(*map(_NAME.validate_python, names))
        if (envelope.schema, envelope.site) != (Telemetry.SCHEMA, component.site_id):
            raise ValueError("not a reading of this site")
        return self.note(key, Place(envelope, component))

    def note(self, key: tuple[Any, ...], place: Place) -> int:
        """A place that was checked elsewhere."""
        self[key] = len(self.all)
        self.all.append(place)
        return self[key]
