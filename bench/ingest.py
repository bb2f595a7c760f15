"""Records per second and core that ingest brings into the lake, against a bare consumer that discards.

One topic of a real Kafka on this machine, read from its beginning in turns by both, each by the CPU time of
its own process (librdkafka's and Delta's threads included), so that a busy machine slows both. Ours
validates, drops repeats, writes Delta tables and commits offsets; the bare one only takes messages from
librdkafka, 10,000 at a time. Beside it: what a topic read a second time, all repeats, costs, and a bare
consumer that takes as few messages at a time as ingest does, which spares it many misses of the processor's
cache. What ingest does once when it starts is not counted: making the tables, reading which rows they hold.
Of each figure the median of the turns is told, and the ratio is the median of the turns' own ratios.
Limit: at least 0.4 of the bare consumer.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer

from bench.arguments import takes_none
from control_plane.ingest.consumer import CHUNK_MESSAGES_MAX, Ingest, consumer_config
from control_plane.ingest.known_rows import KnownRows
from control_plane.sinks.lake import LakeReader, LakeWriter
from tests.support.kafka import running_kafka
from tests.support.readings import send

RECORDS = int(os.environ.get("INGEST_RECORDS", "200000"))
TURNS = 5
BARE_MESSAGES = 10_000  # at a time, in the consumer that is the limit's measure
TOPIC = "telemetry_raw"
LOOK_S = 0.02
DEADLINE_S = 600.0
RATIO_MIN = 0.4


def main() -> None:
    """Print records per second and core of both, and the ratio; the last line is JSON."""
    argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, running_kafka(Path(folder)) as broker:
        print(f"putting {RECORDS:,} readings on Kafka", flush=True)
        send(broker.bootstrap, 0, RECORDS)
        turns = [_turn(broker.bootstrap, Path(folder) / f"lake-{turn}") for turn in range(TURNS)]
    bare, few, ours, again = (median(each) for each in zip(*turns, strict=True))
    ratios = sorted(round(bare_s / ours_s, 3) for bare_s, _, ours_s, _ in turns)
    ratio = median(ratios)
    figures = {
        "records_per_core_s": round(RECORDS / ours),
        "bare_records_per_core_s": round(RECORDS / bare),
        "bare_few_records_per_core_s": round(RECORDS / few),
        "repeats_per_core_s": round(RECORDS / again),
        "ratios": ratios,
    }
    print(f"ingest into the lake  {figures['records_per_core_s']:>9,} records/s and core")
    print(f"repeats dropped       {figures['repeats_per_core_s']:>9,} records/s and core")
    print(f"bare consumer         {figures['bare_records_per_core_s']:>9,} records/s and core")
    print(f"bare, few at a time   {figures['bare_few_records_per_core_s']:>9,} records/s and core")
    print(
        f"ratio                 {ratio:>9} (limit: at least {RATIO_MIN}; turns {ratios[0]} to {ratios[-1]})"
    )
    print(json.dumps({"benchmark": "ingest", **figures, "ratio": ratio, "held": ratio >= RATIO_MIN}))


def _turn(bootstrap: str, lake: Path) -> tuple[float, float, float, float]:
    """CPU time of the bare consumer, of one that takes few at a time, of ingest, and of its repeats."""
    bare_s = _cpu_s(partial(_discard, bootstrap, f"bare-{lake.name}", BARE_MESSAGES))
    few_s = _cpu_s(partial(_discard, bootstrap, f"few-{lake.name}", CHUNK_MESSAGES_MAX))
    ours_s = _cpu_s(partial(_read, _ready(bootstrap, lake, "accepted"), "accepted"))
    again_s = _cpu_s(partial(_read, _ready(bootstrap, lake, "repeats"), "repeats"))
    return bare_s, few_s, ours_s, again_s


def _cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _discard(bootstrap: str, group: str, at_a_time: int) -> None:
    """Take every message once, with the settings of ingest."""
    consumer, seen = Consumer(consumer_config(bootstrap, group, {})), 0
    consumer.subscribe([TOPIC])
    while seen < RECORDS:
        seen += len(consumer.consume(at_a_time, 1.0))
    consumer.close()


def _ready(bootstrap: str, lake: Path, until: str) -> Ingest:
    """An ingest that knows what the lake holds."""
    writer = LakeWriter(lake)
    writer.create()
    known = KnownRows(LakeReader(lake).spans())
    return Ingest(bootstrap, [writer], known, topics=[TOPIC], group=f"{lake.name}-{until}")


def _read(ingest: Ingest, until: str) -> None:
    """Read the topic from its beginning, until so many records are counted."""
    stop, end = threading.Event(), time.monotonic() + DEADLINE_S
    worker = threading.Thread(target=ingest.run, args=(stop,))
    worker.start()
    while getattr(ingest, until) < RECORDS and worker.is_alive() and time.monotonic() < end:
        time.sleep(LOOK_S)
    stop.set()
    worker.join()
    if getattr(ingest, until) != RECORDS:
        raise RuntimeError(f"{getattr(ingest, until)} of {RECORDS} records were {until}")


if __name__ == "__main__":
    takes_none(__doc__)
    main()
