"""A message that cannot be read is the caller's mistake: INVALID_ARGUMENT, where gRPC would say UNKNOWN."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from control_plane.rpc.wrapping import Handler

Context = grpc.aio.ServicerContext[Any, Any]


class _Unreadable:
    """Stands in the message's place."""


def forgiving(_method: str, handler: Handler) -> Handler:
    """A wrapper: the method is not called for what is no message of it."""
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
