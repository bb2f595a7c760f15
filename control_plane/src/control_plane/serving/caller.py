"""Who calls, for as long as a call is answered, and what for."""

from collections.abc import Iterable
from contextvars import ContextVar

from shared.errors import Untrusted

PURPOSE = "x-purpose"  # gRPC metadata; without it a call is the plant's
ACTIVE, EXPLORATION = "active", "exploration"  # modes on the record; the second is also the purpose's word

SITE: ContextVar[str] = ContextVar(
    "site", default=""
)  # of the client certificate; "" where none is asked for


def require_own_site(site: str) -> None:
    """Untrusted where a site asks for another one: what is answered goes on that one's record."""
    own = SITE.get()
    if own and site != own:
        raise Untrusted("site", f"{own} may not ask for {site[:80]}")


def mode_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The mode on the record; ValueError for a purpose that is none, lest it be taken for the plant's."""
    for key, value in metadata or ():
        if key == PURPOSE:
            if value == EXPLORATION:
                return EXPLORATION
            raise ValueError(f"{PURPOSE}: found {value[:80]!r}; expected {EXPLORATION!r}, or no {PURPOSE}")
    return ACTIVE
