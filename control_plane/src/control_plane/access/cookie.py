"""The session's cookie: nobody's but this origin's, and no script's."""

from starlette.requests import HTTPConnection
from starlette.responses import Response

from control_plane.access.sessions import LIFE

_NAME = "pm-session"


def session_secret(asked: HTTPConnection) -> str | None:
    """What the browser showed."""
    return asked.cookies.get(_name(asked)) or None


def set_session(answer: Response, asked: HTTPConnection, secret: str) -> None:
    """Hand the session to the browser. Lax, not Strict: a person comes back from the OIDC provider with it;
    that no other page acts with it is the gate's doing."""
    secure = _is_tls(asked)
    answer.set_cookie(
        _name(asked),
        secret,
        int(LIFE.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )


def clear_session(answer: Response, asked: HTTPConnection) -> None:
    """Take it back."""
    answer.delete_cookie(_name(asked), path="/", secure=_is_tls(asked), httponly=True, samesite="lax")


def _name(asked: HTTPConnection) -> str:
    """`__Host-` binds the cookie to this host over TLS; a browser takes it from nothing else."""
    return f"__Host-{_NAME}" if _is_tls(asked) else _NAME


def _is_tls(asked: HTTPConnection) -> bool:
    return asked.url.scheme in ("https", "wss")
