"""The base of every record, and the form in which one leaves a site."""

import re
import time
from datetime import UTC, datetime
from typing import Annotated, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints

from shared.errors import Rejected


def utc_now() -> datetime:
    """The wall clock, in UTC: `time.time`, so that all of a process goes by one clock."""
    return datetime.fromtimestamp(time.time(), UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(lambda t: t.astimezone(UTC))]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
OWN_NAMES = ("centre", "inference", "witness")  # the centre's own, in names of keys, logs and folders


class NotASiteId(Rejected, ValueError):
    """A text that cannot name a site, and why."""


def require_site_id(site: str) -> str:
    """The same text; NotASiteId for one that cannot be part of URLs, paths and names of keys."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", site):
        raise NotASiteId(f"found site {site[:80]!r}; expected up to 64 letters, digits, '_', '.' and '-'")
    if site in OWN_NAMES:
        raise NotASiteId(f"site {site!r} is named as a log or key of the centre's own; choose another name")
    return site


SiteId = Annotated[str, AfterValidator(require_site_id)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ComponentId(NamedTuple):
    """Where a record comes from; `key` is the Kafka key `site/reactor/component`."""

    site_id: str
    reactor_id: str
    component: str

    @property
    def key(self) -> str:
        return "/".join(self)

    @classmethod
    def from_key(cls, key: str) -> Self:
        """Parse `site/reactor/component`; ValueError when it is not that."""
        site_id, reactor_id, component = key.split("/")
        return cls(site_id, reactor_id, component)


class Frozen(BaseModel):
    """Immutable, closed to unknown fields, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        protected_namespaces=(),
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


class Outgoing(NamedTuple):
    """A record as the outbox keeps it and Kafka carries it.

    `time_ms` is the source time in milliseconds since 1970 UTC; `body` is UTF-8 JSON.
    """

    schema: str
    key: str
    time_ms: int
    body: bytes


class Record(Frozen):
    """A record with a schema name, a key and a source time."""

    SCHEMA: ClassVar[str]
    timestamp: UtcTime

    @property
    def key(self) -> str:
        raise NotImplementedError  # every record names its own key

    def outgoing(self) -> Outgoing:
        """The record in the form that leaves the site."""
        time_ms = int(self.timestamp.timestamp() * 1000)
        return Outgoing(self.SCHEMA, self.key, time_ms, self.model_dump_json(exclude_none=True).encode())


class ComponentRecord(Record):
    """A record about one component."""

    site_id: Name
    reactor_id: Name
    component: Name

    @property
    def component_id(self) -> ComponentId:
        return ComponentId(self.site_id, self.reactor_id, self.component)

    @property
    def key(self) -> str:
        return self.component_id.key


class SiteRecord(Record):
    """A record about a whole site; its Kafka key is the site."""

    site_id: SiteId

    @property
    def key(self) -> str:
        return self.site_id
