"""A sink behind the routes: it gets its part of each batch, in order."""

from collections.abc import Sequence

from control_plane.ingest.routing import Routes, SinkName
from control_plane.sinks.arrival import Arrival, Sink
from control_plane.sinks.batch import part


class Routed:
    """A sink that gets its part of each batch."""

    def __init__(self, name: SinkName, sink: Sink, routes: Routes) -> None:
        self.name, self._sink, self._routes = name, sink, routes

    def accept(self, batch: Sequence[Arrival]) -> None:
        """Hand on what is routed here, in order; Retryable when the sink cannot take it now."""
        sinks_of, name = self._routes.sinks_of, self.name
        chosen = part(batch, lambda schema, key: name in sinks_of(schema, key))
        if chosen:
            self._sink.accept(chosen)
