"""What stands around each method of a service: put there once, where an interceptor is asked at every call.

Guards stay interceptors: they have to look at who calls before a message is read.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler is generic to a type checker alone
Wrapper = Callable[[str, Handler], Handler]  # a method's name and its handler


class Wrapping:
    """Stands in a server's place where a generated `add_..._to_server` adds its methods.

    Only what has one question and one answer is wrapped; the first wrapper stands outermost. Methods are
    found by name: for each that is registered, `grpc.aio` waits on one more future at every call.
    """

    def __init__(self, server: grpc.aio.Server, wrappers: Sequence[Wrapper] = ()) -> None:
        self._server, self._wrappers = server, wrappers

    def add_generic_rpc_handlers(self, _handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: the methods come once more, where they can be wrapped."""

    def add_registered_method_handlers(self, service: str, methods: Mapping[str, Handler]) -> None:
        """Hand the methods on."""
        wrapped = {name: self._wrapped(name, handler) for name, handler in methods.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))

    def _wrapped(self, method: str, handler: Handler) -> Handler:
        if handler.unary_unary is None:
            return handler
        return reduce(lambda inner, wrap: wrap(method, inner), reversed(self._wrappers), handler)
