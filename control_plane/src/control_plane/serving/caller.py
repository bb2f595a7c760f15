"""Who calls, for as long as a call is answered."""

from contextvars import ContextVar

from shared.errors import Untrusted

SITE: ContextVar[str] = ContextVar(
    "site", default=""
)  # of the client certificate; "" where none is asked for


def require_own_site(site: str) -> None:
    """Untrusted where a site asks for another one: what is answered goes on that one's record."""
    own = SITE.get()
    if own and site != own:
        raise Untrusted("site", f"{own} may not ask for {site[:80]}")
