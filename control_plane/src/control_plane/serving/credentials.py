"""Who may call the inference service: a bearer token, or the certificate of an enrolled site.

Closed by default (invariant 9): in clear only on loopback; beyond it only TLS, with one of the two.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc

from control_plane.enrolment.admission import Admission
from control_plane.rpc.peer import peer_certificate
from control_plane.serving.caller import SITE
from control_plane.serving.tokens import TokenFile
from shared.errors import Rejected

CERTIFICATES_MAX = 5000  # remembered; a fleet has a thousand sites
LOOK_PERIOD_S = 1.0  # how long a certificate may still be good after it was revoked
_BEARER = "bearer "

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler is generic to a type checker alone
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class TokenGuard(grpc.aio.ServerInterceptor):
    """Asks for `authorization: Bearer TOKEN`. Of a call without one that holds no message is read."""

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method, or a refusal in its place."""
        for key, value in details.invocation_metadata or ():
            if key == "authorization" and isinstance(value, str) and value[:7].lower() == _BEARER:
                if self._tokens.holds(value[7:]):
                    return await continuation(details)
                return _refusal("this token is not good, or no longer")
        return _refusal("send `authorization: Bearer TOKEN`; `control-plane token add` makes a token")


class CertificateGuard(grpc.aio.ServerInterceptor):
    """TLS has checked that the authority signed the client's certificate; this, whether it still holds.

    The site that it names is `caller.SITE` while the call is answered.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._known: dict[bytes, tuple[float, str]] = {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method, behind the check."""
        found = await continuation(details)
        if found is None:
            return None
        kind = _kind(found)
        return found._replace(**{kind: self._behind_check(getattr(found, kind))})

    def _behind_check(self, inner: Callable[..., Any]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def guarded(request: Any, context: Context) -> Any:
            try:
                SITE.set(self._site(context))
            except Rejected as error:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            answers = inner(request, context)
            if not hasattr(answers, "__aiter__"):
                return await answers
            async for answer in answers:
                await context.write(answer)
            return None

        return guarded

    def _site(self, context: Context) -> str:
        shown = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        until, site = self._known.get(shown, (0.0, ""))
        if time.monotonic() < until:
            return site
        certificate = peer_certificate(context)
        if certificate is None:
            raise Rejected("show the certificate of an enrolled site")
        site = self._admission.site(certificate)
        if len(self._known) >= CERTIFICATES_MAX:
            self._known.clear()
        self._known[shown] = (time.monotonic() + LOOK_PERIOD_S, site)
        return site


def _kind(handler: Any) -> str:
    """Which of a method's four fields holds its function."""
    asked = "stream" if handler.request_streaming else "unary"
    return f"{asked}_{'stream' if handler.response_streaming else 'unary'}"


def _refusal(why: str) -> Handler:
    """Answers whatever it was that was called, without reading a message of it."""

    async def refuse(_requests: object, context: Context) -> NoReturn:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, why)

    return grpc.stream_stream_rpc_method_handler(refuse)
