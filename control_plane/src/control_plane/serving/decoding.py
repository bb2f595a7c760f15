"""A message that cannot be read is the caller's mistake: INVALID_ARGUMENT, where gRPC would say UNKNOWN."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

Handler = Any  # grpc.RpcMethodHandler is generic to a type checker alone
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
Context = grpc.aio.ServicerContext[Any, Any]


class _Unreadable:
    """Stands in the message's place."""


class Decoding(grpc.aio.ServerInterceptor):
    """Of methods with one question and one answer."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method, which is not called for what is no message of it."""
        found = await continuation(details)
        if found is None or found.unary_unary is None:
            return found
        known = self._handlers.get(details.method)
        if known is None:
            known = self._handlers[details.method] = _forgiving(found)
        return known


def _forgiving(handler: Handler) -> Handler:
    read, inner = handler.request_deserializer, handler.unary_unary

    def read_or_not(sent: bytes) -> Any:
        try:
            return read(sent)
        except DecodeError:
            return _Unreadable

    async def answer(request: Any, context: Context) -> Any:
        if request is _Unreadable:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the message is not what the .proto says of this method"
            )
        return await inner(request, context)

    return handler._replace(request_deserializer=read_or_not, unary_unary=answer)
