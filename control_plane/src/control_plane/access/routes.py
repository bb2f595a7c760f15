"""Which permission each route needs: the one table, in the order in which routes are tried.

A request that no rule names is answered 404 and reaches nothing. `tests/flow/test_access_matrix.py` holds the
table against the application's own routes, so a new route needs its line here.
"""

import re
from typing import NamedTuple

from starlette.routing import compile_path

from control_plane.access.roles import Permission

WEBSOCKET = "WEBSOCKET"
_OPEN, _LOCAL, _SELF = Permission.OPEN, Permission.LOCAL, Permission.SELF
_SEE, _ACKNOWLEDGE, _AUDIT = Permission.SEE, Permission.ACKNOWLEDGE, Permission.AUDIT


class Rule(NamedTuple):
    """Methods (HEAD counts as GET), a path as the route declares it, and what it takes to call it."""

    methods: frozenset[str]
    path: str
    needs: Permission

    @property
    def pattern(self) -> re.Pattern[str]:
        """What its paths look like."""
        return compile_path(self.path)[0]


def _rule(methods: str, path: str, needs: Permission) -> Rule:
    return Rule(frozenset(methods.split()), path, needs)


RULES = (
    _rule("GET", "/healthz", _OPEN),
    _rule("GET", "/favicon.ico", _OPEN),
    _rule("GET POST", "/sign-in", _OPEN),
    _rule("GET", "/sign-in/oidc", _OPEN),
    _rule("GET", "/sign-in/oidc/back", _OPEN),
    _rule("POST", "/sign-out", _SELF),
    _rule("GET POST", "/password", _SELF),
    _rule("GET", "/account", _SELF),
    _rule("POST", "/account/tokens", _SELF),
    _rule("POST", "/account/tokens/{name}/remove", _SELF),
    _rule("GET", "/api/me", _SELF),
    # the JSON API
    _rule("GET", "/api/openapi.json", _SEE),
    _rule("GET", "/api/fleet", _SEE),
    _rule("GET", "/api/components/{site}/{reactor}/{component}", _SEE),
    _rule("GET", "/api/components/{site}/{reactor}/{component}/history", _SEE),
    _rule("GET", "/api/alerts", _SEE),
    _rule("POST", "/api/alerts/{alert_id}/acknowledge", _ACKNOWLEDGE),
    _rule("GET", "/api/completeness", _SEE),
    _rule("GET", "/api/health", _SEE),
    _rule("GET", "/api/rollouts", _SEE),
    _rule("GET", "/api/models", _SEE),
    _rule("GET", "/api/models/{name}/{version}", _SEE),
    _rule("GET", "/api/audit/predictions", _AUDIT),
    _rule("GET", "/api/{rest:path}", _SEE),
    # the pages; what a button of theirs needs is asked again when it is pressed
    _rule("GET", "/", _SEE),
    _rule("GET", "/alerts", _SEE),
    _rule("GET", "/completeness", _SEE),
    _rule("GET", "/rollouts", _SEE),
    _rule("GET", "/component/{site}/{reactor}/{component}", _SEE),
    _rule("GET", "/history/{site}/{reactor}/{component}", _SEE),
    _rule("GET", "/models", _SEE),
    _rule("GET", "/models/{name}/{version}", _SEE),
    _rule("GET", "/audit", _AUDIT),
    _rule("POST", "/audit/export", _AUDIT),
    # NiceGUI's own files, and the websocket by which pages live
    _rule("GET", "/_nicegui/{rest:path}", _SEE),
    _rule(f"GET POST {WEBSOCKET}", "/_nicegui_ws/{rest:path}", _SEE),
    # signed metadata and models, for agents on this machine (mounted only where sites dial no other door)
    _rule("GET", "/repository/{rest:path}", _LOCAL),
)
_PATTERNS = [(rule, rule.pattern) for rule in RULES]


def rule_for(method: str, path: str) -> Rule | None:
    """The rule of a request; None where there is none, which refuses it."""
    asked = "GET" if method == "HEAD" else method
    return next(
        (rule for rule, pattern in _PATTERNS if asked in rule.methods and pattern.fullmatch(path)), None
    )
