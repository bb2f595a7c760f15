"""Whether a request may go on: pure rules over what its rule needs, who calls and where it comes from."""

from typing import NamedTuple

from starlette.requests import HTTPConnection

from control_plane.access.caller import Caller
from control_plane.access.callers import is_bearer
from control_plane.access.origin import foreign
from control_plane.access.roles import Permission, roles_with
from control_plane.access.routes import Rule
from shared.listen import is_loopback


class Refusal(NamedTuple):
    """Why a request goes no further: HTTP's status, and words."""

    status: int
    why: str


def decide(rule: Rule | None, caller: Caller | None, asked: HTTPConnection, method: str) -> Refusal | None:
    """Why not, or None. What no rule names is refused like what somebody else may see."""
    if not is_bearer(asked) and (why := foreign(asked, method)):
        return Refusal(403, why)
    if rule is not None and rule.needs is Permission.OPEN:
        return None
    if rule is not None and rule.needs is Permission.LOCAL:
        return None if _is_local(asked) else Refusal(403, "only for agents on the centre's own machine")
    if caller is None:
        return Refusal(401, "sign in, or send `Authorization: Bearer TOKEN`; `control-plane token` makes one")
    return _of(rule, caller, asked)


def _of(rule: Rule | None, caller: Caller, asked: HTTPConnection) -> Refusal | None:
    if caller.must_change and (rule is None or rule.needs is not Permission.SELF):
        return Refusal(403, "change the one-time password first")
    if rule is None:
        return Refusal(404, f"there is nothing at {asked.url.path}")
    return None if caller.may(rule.needs) else Refusal(403, _lacking(caller, rule.needs))


def _lacking(caller: Caller, needs: Permission) -> str:
    if needs is Permission.SELF:
        return "needs a person who is signed in, not an API token"
    scope = f", with the scope {needs}" if caller.by_token else ""
    return f"needs the role {roles_with(needs)}{scope}"


def _is_local(asked: HTTPConnection) -> bool:
    """From this machine, and not handed on by a proxy on it."""
    handed_on = {"forwarded", "x-forwarded-for"} & set(asked.headers)
    return asked.client is not None and is_loopback(asked.client.host) and not handed_on
