"""A process that answers beside the inference part of a centre, on its port (see `serving.workers`).

    python -m control_plane.inference_worker

It verifies and loads the published releases by itself; its records are committed by its parent, which also
fetches releases and puts on record what the soft gates said.
"""

import asyncio
import os
import signal
import sys
from typing import BinaryIO, NamedTuple

import msgspec
import structlog
import uvloop

from control_plane.audit.prediction_spool import PredictionSpool
from control_plane.inference_answering import Answering, Order
from control_plane.layout import Layout
from control_plane.serving.metrics import InferenceMetrics
from control_plane.serving.workers import REPORT_PERIOD_S, STOP, Report
from control_plane.site_doors import SiteDoors
from shared import collector
from shared.errors import PmStackError


class _Line(NamedTuple):
    """Tells the parent, a report a line."""

    file: BinaryIO
    answering: Answering
    spool: PredictionSpool
    metrics: InferenceMetrics

    async def report_on(self) -> None:
        """Until cancelled."""
        while True:
            self.report()
            await asyncio.sleep(REPORT_PERIOD_S)

    def report(self) -> None:
        """Once."""
        counts = self.metrics.own
        counts.waiting = self.answering.waiting
        self.file.write(msgspec.json.encode(Report(counts, self.spool.cut())) + b"\n")
        self.file.flush()


async def answer(order: Order, told: asyncio.StreamReader, file: BinaryIO) -> None:
    """Serve until told to stop."""
    layout, metrics = Layout(order.data_dir), InferenceMetrics()
    doors = SiteDoors(order.data_dir, order.settings.names)
    answering = Answering(layout, order.settings, doors.admission, record=None)
    with layout.prediction_spool() as spool:
        await asyncio.to_thread(answering.models.refresh)  # before the kernel deals out the first call
        await answering.open(spool, metrics)
        line = _Line(file, answering, spool, metrics)
        work = [asyncio.create_task(each) for each in (answering.follow(), line.report_on())]
        stop = asyncio.create_task(told.readline())
        await asyncio.wait([*work, stop], return_when=asyncio.FIRST_COMPLETED)
        if stop.done() and stop.result() != STOP:
            os._exit(1)  # whoever is started instead finds the port free, and what was spooled
        for task in work:
            task.cancel()
        ended = await asyncio.gather(*work, return_exceptions=True)
        await answering.close()
        line.report()
    doors.close()
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome


async def _main(file: BinaryIO) -> None:
    told = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    await answer(Order.read(await told.readline()), told, file)


def main() -> None:
    """Signals of the terminal and the service manager are the parent's to heed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    file = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else is printed is no report
    collector.settle()
    try:
        uvloop.run(_main(file))
    except PmStackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
