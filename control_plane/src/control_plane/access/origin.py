"""Whether a request comes from a page of this very origin (CSRF, and websockets opened by other sites).

Every browser of today says so itself, in `Origin` and `Sec-Fetch-Site`; a page cannot change either.
"""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

SAFE = frozenset({"GET", "HEAD"})


def foreign(asked: HTTPConnection, method: str) -> str:
    """Why the request may not use this browser's cookie; nothing where it may."""
    origin, site = asked.headers.get("origin"), asked.headers.get("sec-fetch-site")
    if origin is not None and urlsplit(origin).netloc != asked.headers.get("host", ""):
        return f"asked by a page of {origin[:200]}"
    if site in ("cross-site", "same-site") and not _is_followed_link(asked, method):
        return "asked by another site's page"
    if method not in SAFE and origin is None and site != "same-origin":
        return "without Origin: a browser's own pages send it, and a program has an API token"
    return ""


def _is_followed_link(asked: HTTPConnection, method: str) -> bool:
    """A person who comes from elsewhere by a link."""
    return method in SAFE and asked.headers.get("sec-fetch-mode") == "navigate"
